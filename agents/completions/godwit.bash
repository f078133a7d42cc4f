#!/bin/bash

__godwit_cursor_index_in_current_word() {
    local remaining="${COMP_LINE}"

    local word
    for word in "${COMP_WORDS[@]::COMP_CWORD}"; do
        remaining="${remaining##*([[:space:]])"${word}"*([[:space:]])}"
    done

    local -ir index="$((COMP_POINT - ${#COMP_LINE} + ${#remaining}))"
    if [[ "${index}" -le 0 ]]; then
        printf 0
    else
        printf %s "${index}"
    fi
}

# positional arguments:
#
# - 1: the current (sub)command's count of positional arguments
#
# required variables:
#
# - repeating_flags: the repeating flags that the current (sub)command can accept
# - non_repeating_flags: the non-repeating flags that the current (sub)command can accept
# - repeating_options: the repeating options that the current (sub)command can accept
# - non_repeating_options: the non-repeating options that the current (sub)command can accept
# - positional_number: value ignored
# - unparsed_words: unparsed words from the current command line
#
# modified variables:
#
# - non_repeating_flags: remove flags for this (sub)command that are already on the command line
# - non_repeating_options: remove options for this (sub)command that are already on the command line
# - positional_number: set to the current positional number
# - unparsed_words: remove all flags, options, and option values for this (sub)command
__godwit_offer_flags_options() {
    local -ir positional_count="${1}"
    positional_number=0

    local was_flag_option_terminator_seen=false
    local is_parsing_option_value=false

    local -ar unparsed_word_indices=("${!unparsed_words[@]}")
    local -i word_index
    for word_index in "${unparsed_word_indices[@]}"; do
        if "${is_parsing_option_value}"; then
            # This word is an option value:
            # Reset marker for next word iff not currently the last word
            [[ "${word_index}" -ne "${unparsed_word_indices[${#unparsed_word_indices[@]} - 1]}" ]] && is_parsing_option_value=false
            unset "unparsed_words[${word_index}]"
            # Do not process this word as a flag or an option
            continue
        fi

        local word="${unparsed_words["${word_index}"]}"
        if ! "${was_flag_option_terminator_seen}"; then
            case "${word}" in
            --)
                unset "unparsed_words[${word_index}]"
                # by itself -- is a flag/option terminator, but if it is the last word, it is the start of a completion
                if [[ "${word_index}" -ne "${unparsed_word_indices[${#unparsed_word_indices[@]} - 1]}" ]]; then
                    was_flag_option_terminator_seen=true
                fi
                continue
                ;;
            -*)
                # ${word} is a flag or an option
                # If ${word} is an option, mark that the next word to be parsed is an option value
                local option
                for option in "${repeating_options[@]}" "${non_repeating_options[@]}"; do
                    [[ "${word}" = "${option}" ]] && is_parsing_option_value=true && break
                done

                # Remove ${word} from ${non_repeating_flags} or ${non_repeating_options} so it isn't offered again
                local not_found=true
                local -i index
                for index in "${!non_repeating_flags[@]}"; do
                    if [[ "${non_repeating_flags[${index}]}" = "${word}" ]]; then
                        unset "non_repeating_flags[${index}]"
                        non_repeating_flags=("${non_repeating_flags[@]}")
                        not_found=false
                        break
                    fi
                done
                if "${not_found}"; then
                    for index in "${!non_repeating_flags[@]}"; do
                        if [[ "${non_repeating_flags[${index}]}" = "${word}" ]]; then
                            unset "non_repeating_flags[${index}]"
                            non_repeating_flags=("${non_repeating_flags[@]}")
                            break
                        fi
                    done
                fi
                unset "unparsed_words[${word_index}]"
                continue
                ;;
            esac
        fi

        # ${word} is neither a flag, nor an option, nor an option value
        if [[ "${positional_number}" -lt "${positional_count}" || "${positional_count}" -lt 0 ]]; then
            # ${word} is a positional
            ((positional_number++))
            unset "unparsed_words[${word_index}]"
        else
            if [[ -z "${word}" ]]; then
                # Could be completing a flag, option, or subcommand
                positional_number=-1
            else
                # ${word} is a subcommand or invalid, so stop processing this (sub)command
                positional_number=-2
            fi
            break
        fi
    done

    unparsed_words=("${unparsed_words[@]}")

    if\
        ! "${was_flag_option_terminator_seen}"\
        && ! "${is_parsing_option_value}"\
        && [[ ("${cur}" = -* && "${positional_number}" -ge 0) || "${positional_number}" -eq -1 ]]
    then
        COMPREPLY+=($(compgen -W "${repeating_flags[*]} ${non_repeating_flags[*]} ${repeating_options[*]} ${non_repeating_options[*]}" -- "${cur}"))
    fi
}

__godwit_add_completions() {
    local completion
    while IFS='' read -r completion; do
        COMPREPLY+=("${completion}")
    done < <(IFS=$'\n' compgen "${@}" -- "${cur}")
}

__godwit_custom_complete() {
    if [[ -n "${cur}" || -z ${COMP_WORDS[${COMP_CWORD}]} || "${COMP_LINE:${COMP_POINT}:1}" != ' ' ]]; then
        local -ar words=("${COMP_WORDS[@]}")
    else
        local -ar words=("${COMP_WORDS[@]::${COMP_CWORD}}" '' "${COMP_WORDS[@]:${COMP_CWORD}}")
    fi

    "${COMP_WORDS[0]}" "${@}" "${words[@]}"
}

_godwit() {
    local state
    state="$(shopt -p;shopt -po)"
    trap "${state//$'\n'/;}" RETURN
    shopt -s extglob
    set +o history +o posix

    local -xr SAP_SHELL=bash
    local -x SAP_SHELL_VERSION
    SAP_SHELL_VERSION="$(IFS='.';printf %s "${BASH_VERSINFO[*]}")"
    local -r SAP_SHELL_VERSION

    local -r cur="${2}"
    local -r prev="${3}"

    local -i positional_number
    local -a unparsed_words=("${COMP_WORDS[@]:1:${COMP_CWORD}}")

    local -a repeating_flags=()
    local -a non_repeating_flags=(--version -h --help)
    local -a repeating_options=()
    local -a non_repeating_options=()
    __godwit_offer_flags_options 0

    # Offer subcommand / subcommand argument completions
    local -r subcommand="${unparsed_words[0]}"
    unset 'unparsed_words[0]'
    unparsed_words=("${unparsed_words[@]}")
    case "${subcommand}" in
    job|checkpoint|node|cluster|status|top|ca|completions|help)
        # Offer subcommand argument completions
        "_godwit_${subcommand}"
        ;;
    *)
        # Offer subcommand completions
        COMPREPLY+=($(compgen -W 'job checkpoint node cluster status top ca completions help' -- "${cur}"))
        ;;
    esac
}

_godwit_job() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __godwit_offer_flags_options 0

    # Offer subcommand / subcommand argument completions
    local -r subcommand="${unparsed_words[0]}"
    unset 'unparsed_words[0]'
    unparsed_words=("${unparsed_words[@]}")
    case "${subcommand}" in
    submit|plan|list|show|watch|explain|logs|checkpoint|restore|resize|migrate|cancel)
        # Offer subcommand argument completions
        "_godwit_job_${subcommand}"
        ;;
    *)
        # Offer subcommand completions
        COMPREPLY+=($(compgen -W 'submit plan list show watch explain logs checkpoint restore resize migrate cancel' -- "${cur}"))
        ;;
    esac
}

_godwit_job_submit() {
    repeating_flags=()
    non_repeating_flags=(--allow-infeasible --wait --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -o plusdirs -fX '!*.@(yaml|yml|json)'
        return
        ;;
    esac
}

_godwit_job_plan() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -o plusdirs -fX '!*.@(yaml|yml|json)'
        return
        ;;
    esac
}

_godwit_job_list() {
    repeating_flags=()
    non_repeating_flags=(-a --all -w --watch --version -h --help)
    repeating_options=(--state --agent)
    non_repeating_options=(--interval --identity --timeout -o --output --color)
    __godwit_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--state')
        __godwit_add_completions -W 'queued'$'\n''starting'$'\n''restoring'$'\n''running'$'\n''checkpointing'$'\n''migrating'$'\n''suspended'$'\n''stopping'$'\n''completed'$'\n''failed'$'\n''cancelled'
        return
        ;;
    '--interval')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_job_show() {
    repeating_flags=()
    non_repeating_flags=(-w --watch --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--interval --identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--interval')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions jobs 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_job_watch() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--interval --identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--interval')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions jobs 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_job_explain() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--figure --limit --identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--figure')
        __godwit_add_completions -o plusdirs -fX '!*.@(svg)'
        return
        ;;
    '--limit')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions jobs 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_job_logs() {
    repeating_flags=()
    non_repeating_flags=(-f --follow --stdout --stderr -t --timestamps --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(-n --tail --identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '-n'|'--tail')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions jobs 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_job_checkpoint() {
    repeating_flags=()
    non_repeating_flags=(--stop --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions jobs 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_job_restore() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--generation --identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--generation')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions jobs 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_job_resize() {
    repeating_flags=()
    non_repeating_flags=(--auto --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--cpus --cpu-limit --memory --identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--cpus')
        return
        ;;
    '--cpu-limit')
        __godwit_add_completions -W 'none'
        return
        ;;
    '--memory')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions jobs 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_job_migrate() {
    repeating_flags=()
    non_repeating_flags=(--no-wait --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--to --identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--to')
        __godwit_add_completions -W "$(eval 'godwit completions nodes 2>/dev/null')"
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions jobs 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_job_cancel() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--grace --identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--grace')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions jobs 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_checkpoint() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __godwit_offer_flags_options 0

    # Offer subcommand / subcommand argument completions
    local -r subcommand="${unparsed_words[0]}"
    unset 'unparsed_words[0]'
    unparsed_words=("${unparsed_words[@]}")
    case "${subcommand}" in
    list|show|verify|export|import|rm)
        # Offer subcommand argument completions
        "_godwit_checkpoint_${subcommand}"
        ;;
    *)
        # Offer subcommand completions
        COMPREPLY+=($(compgen -W 'list show verify export import rm' -- "${cur}"))
        ;;
    esac
}

_godwit_checkpoint_list() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--node --identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--node')
        __godwit_add_completions -W "$(eval 'godwit completions nodes 2>/dev/null')"
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions jobs 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_checkpoint_show() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--generation --identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--generation')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions jobs 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_checkpoint_verify() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--generation --identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--generation')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions jobs 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_checkpoint_export() {
    repeating_flags=()
    non_repeating_flags=(--force --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--generation -f --file --identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--generation')
        return
        ;;
    '-f'|'--file')
        __godwit_add_completions -o plusdirs -fX '!*.@(tar)'
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions jobs 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_checkpoint_import() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--name --into --identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--name')
        return
        ;;
    '--into')
        __godwit_add_completions -W "$(eval 'godwit completions jobs 2>/dev/null')"
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -o plusdirs -fX '!*.@(tar)'
        return
        ;;
    esac
}

_godwit_checkpoint_rm() {
    repeating_flags=()
    non_repeating_flags=(--force --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--identity --timeout -o --output --color)
    __godwit_offer_flags_options 2

    # Offer option value completions
    case "${prev}" in
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions jobs 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_node() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __godwit_offer_flags_options 0

    # Offer subcommand / subcommand argument completions
    local -r subcommand="${unparsed_words[0]}"
    unset 'unparsed_words[0]'
    unparsed_words=("${unparsed_words[@]}")
    case "${subcommand}" in
    list|show|cordon|drain|undrain|leave|remove)
        # Offer subcommand argument completions
        "_godwit_node_${subcommand}"
        ;;
    *)
        # Offer subcommand completions
        COMPREPLY+=($(compgen -W 'list show cordon drain undrain leave remove' -- "${cur}"))
        ;;
    esac
}

_godwit_node_list() {
    repeating_flags=()
    non_repeating_flags=(-w --watch --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--interval --identity --timeout -o --output --color)
    __godwit_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--interval')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_node_show() {
    repeating_flags=()
    non_repeating_flags=(-w --watch --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--interval --identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--interval')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions nodes 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_node_cordon() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions nodes 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_node_drain() {
    repeating_flags=()
    non_repeating_flags=(--now --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions nodes 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_node_undrain() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions nodes 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_node_leave() {
    repeating_flags=()
    non_repeating_flags=(--force --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions nodes 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_node_remove() {
    repeating_flags=()
    non_repeating_flags=(--revoke --force --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W "$(eval 'godwit completions nodes 2>/dev/null')"
        return
        ;;
    esac
}

_godwit_cluster() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __godwit_offer_flags_options 0

    # Offer subcommand / subcommand argument completions
    local -r subcommand="${unparsed_words[0]}"
    unset 'unparsed_words[0]'
    unparsed_words=("${unparsed_words[@]}")
    case "${subcommand}" in
    status|members|voters|events|keyring)
        # Offer subcommand argument completions
        "_godwit_cluster_${subcommand}"
        ;;
    *)
        # Offer subcommand completions
        COMPREPLY+=($(compgen -W 'status members voters events keyring' -- "${cur}"))
        ;;
    esac
}

_godwit_cluster_status() {
    repeating_flags=()
    non_repeating_flags=(-w --watch --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--interval --identity --timeout -o --output --color)
    __godwit_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--interval')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_cluster_members() {
    repeating_flags=()
    non_repeating_flags=(-w --watch --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--interval --identity --timeout -o --output --color)
    __godwit_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--interval')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_cluster_voters() {
    repeating_flags=()
    non_repeating_flags=(-w --watch --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--interval --identity --timeout -o --output --color)
    __godwit_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--interval')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_cluster_events() {
    repeating_flags=()
    non_repeating_flags=(-w --watch --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(-n --limit --node --identity --timeout -o --output --color)
    __godwit_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '-n'|'--limit')
        return
        ;;
    '--node')
        __godwit_add_completions -W "$(eval 'godwit completions nodes 2>/dev/null')"
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_cluster_keyring() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __godwit_offer_flags_options 0

    # Offer subcommand / subcommand argument completions
    local -r subcommand="${unparsed_words[0]}"
    unset 'unparsed_words[0]'
    unparsed_words=("${unparsed_words[@]}")
    case "${subcommand}" in
    list|rotate)
        # Offer subcommand argument completions
        "_godwit_cluster_keyring_${subcommand}"
        ;;
    *)
        # Offer subcommand completions
        COMPREPLY+=($(compgen -W 'list rotate' -- "${cur}"))
        ;;
    esac
}

_godwit_cluster_keyring_list() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--identity --timeout -o --output --color)
    __godwit_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_cluster_keyring_rotate() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--identity --timeout -o --output --color)
    __godwit_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_status() {
    repeating_flags=()
    non_repeating_flags=(-w --watch --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--interval --identity --timeout -o --output --color)
    __godwit_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--interval')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_top() {
    repeating_flags=()
    non_repeating_flags=(-w --watch --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(-n --limit --interval --identity --timeout -o --output --color)
    __godwit_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '-n'|'--limit')
        return
        ;;
    '--interval')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_ca() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __godwit_offer_flags_options 0

    # Offer subcommand / subcommand argument completions
    local -r subcommand="${unparsed_words[0]}"
    unset 'unparsed_words[0]'
    unparsed_words=("${unparsed_words[@]}")
    case "${subcommand}" in
    init|delegate|issue|renew|show|revoke|revocations|trust)
        # Offer subcommand argument completions
        "_godwit_ca_${subcommand}"
        ;;
    *)
        # Offer subcommand completions
        COMPREPLY+=($(compgen -W 'init delegate issue renew show revoke revocations trust' -- "${cur}"))
        ;;
    esac
}

_godwit_ca_init() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=(--cluster --folder -o --output --color)
    __godwit_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--cluster')
        return
        ;;
    '--folder')
        __godwit_add_completions -d
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_ca_delegate() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=(--site --lifetime --out --folder -o --output --color)
    __godwit_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--site')
        return
        ;;
    '--lifetime')
        return
        ;;
    '--out')
        __godwit_add_completions -d
        return
        ;;
    '--folder')
        __godwit_add_completions -d
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_ca_issue() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--trust)
    non_repeating_options=(--node --site --role --user --right --lifetime --out --folder -o --output --color)
    __godwit_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--node')
        return
        ;;
    '--site')
        return
        ;;
    '--role')
        __godwit_add_completions -W 'worker'$'\n''gateway'
        return
        ;;
    '--user')
        return
        ;;
    '--right')
        __godwit_add_completions -W 'admin'$'\n''submit'$'\n''read'
        return
        ;;
    '--lifetime')
        return
        ;;
    '--out')
        __godwit_add_completions -f
        return
        ;;
    '--trust')
        __godwit_add_completions -o plusdirs -fX '!*.@(crt|pem)'
        return
        ;;
    '--folder')
        __godwit_add_completions -d
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_ca_renew() {
    repeating_flags=()
    non_repeating_flags=(--new-key --version -h --help)
    repeating_options=()
    non_repeating_options=(--lifetime --out --folder -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--lifetime')
        return
        ;;
    '--out')
        __godwit_add_completions -f
        return
        ;;
    '--folder')
        __godwit_add_completions -d
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -o plusdirs -fX '!*.@(pem)'
        return
        ;;
    esac
}

_godwit_ca_show() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=(-o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -o plusdirs -fX '!*.@(pem|crt)'
        return
        ;;
    esac
}

_godwit_ca_revoke() {
    repeating_flags=()
    non_repeating_flags=(--force --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--reason --identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--reason')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_ca_revocations() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--identity --timeout -o --output --color)
    __godwit_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_ca_trust() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __godwit_offer_flags_options 0

    # Offer subcommand / subcommand argument completions
    local -r subcommand="${unparsed_words[0]}"
    unset 'unparsed_words[0]'
    unparsed_words=("${unparsed_words[@]}")
    case "${subcommand}" in
    add|list|remove)
        # Offer subcommand argument completions
        "_godwit_ca_trust_${subcommand}"
        ;;
    *)
        # Offer subcommand completions
        COMPREPLY+=($(compgen -W 'add list remove' -- "${cur}"))
        ;;
    esac
}

_godwit_ca_trust_add() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--site --identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--site')
        return
        ;;
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -o plusdirs -fX '!*.@(crt|pem)'
        return
        ;;
    esac
}

_godwit_ca_trust_list() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--identity --timeout -o --output --color)
    __godwit_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_ca_trust_remove() {
    repeating_flags=()
    non_repeating_flags=(--force --version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac
}

_godwit_completions() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--agent)
    non_repeating_options=(--identity --timeout -o --output --color)
    __godwit_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--agent')
        return
        ;;
    '--identity')
        __godwit_add_completions -f
        return
        ;;
    '--timeout')
        return
        ;;
    '-o'|'--output')
        __godwit_add_completions -W 'table'$'\n''json'
        return
        ;;
    '--color')
        __godwit_add_completions -W 'auto'$'\n''always'$'\n''never'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __godwit_add_completions -W 'bash'$'\n''zsh'$'\n''fish'
        return
        ;;
    esac
}

_godwit_help() {
    repeating_flags=()
    non_repeating_flags=(--version)
    repeating_options=()
    non_repeating_options=()
    __godwit_offer_flags_options -1
}

complete -o filenames -F _godwit godwit
