function __godwit_should_offer_completions_for_flags_or_options -a expected_commands
    set -l non_repeating_flags_or_options $argv[2..]
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __godwit_parse_tokens
    test "$commands" = "$expected_commands"; and return $non_repeating_flags_or_options_absent
end

function __godwit_should_offer_completions_for_positional -a expected_commands positional_index_comparison expected_positional_index
    set -l non_repeating_flags_or_options
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __godwit_parse_tokens
    test "$commands" = "$expected_commands" -a \( "$positional_index" "$positional_index_comparison" "$expected_positional_index" \)
end

function __godwit_parse_tokens -S
    set -l unparsed_tokens (__godwit_tokens -pc)
    switch $unparsed_tokens[1]
    case 'godwit'
        __godwit_parse_subcommand 0 'version' 'h/help'
        switch $unparsed_tokens[1]
        case 'job'
            __godwit_parse_subcommand 0 'version' 'h/help'
            switch $unparsed_tokens[1]
            case 'submit'
                __godwit_parse_subcommand 1 'allow-infeasible' 'wait' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'plan'
                __godwit_parse_subcommand 1 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'list'
                __godwit_parse_subcommand 0 'a/all' 'state=+' 'w/watch' 'interval=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'show'
                __godwit_parse_subcommand 1 'w/watch' 'interval=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'watch'
                __godwit_parse_subcommand 1 'interval=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'explain'
                __godwit_parse_subcommand 1 'figure=' 'limit=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'logs'
                __godwit_parse_subcommand 1 'f/follow' 'n/tail=' 'stdout' 'stderr' 't/timestamps' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'checkpoint'
                __godwit_parse_subcommand 1 'stop' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'restore'
                __godwit_parse_subcommand 1 'generation=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'resize'
                __godwit_parse_subcommand 1 'cpus=' 'auto' 'cpu-limit=' 'memory=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'cancel'
                __godwit_parse_subcommand 1 'grace=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            end
        case 'node'
            __godwit_parse_subcommand 0 'version' 'h/help'
            switch $unparsed_tokens[1]
            case 'list'
                __godwit_parse_subcommand 0 'w/watch' 'interval=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'show'
                __godwit_parse_subcommand 1 'w/watch' 'interval=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'cordon'
                __godwit_parse_subcommand 1 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'drain'
                __godwit_parse_subcommand 1 'now' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'undrain'
                __godwit_parse_subcommand 1 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'leave'
                __godwit_parse_subcommand 1 'force' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'remove'
                __godwit_parse_subcommand 1 'revoke' 'force' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            end
        case 'cluster'
            __godwit_parse_subcommand 0 'version' 'h/help'
            switch $unparsed_tokens[1]
            case 'status'
                __godwit_parse_subcommand 0 'w/watch' 'interval=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'members'
                __godwit_parse_subcommand 0 'w/watch' 'interval=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'voters'
                __godwit_parse_subcommand 0 'w/watch' 'interval=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'events'
                __godwit_parse_subcommand 0 'w/watch' 'n/limit=' 'node=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'keyring'
                __godwit_parse_subcommand 0 'version' 'h/help'
                switch $unparsed_tokens[1]
                case 'list'
                    __godwit_parse_subcommand 0 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
                case 'rotate'
                    __godwit_parse_subcommand 0 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
                end
            end
        case 'status'
            __godwit_parse_subcommand 0 'w/watch' 'interval=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
        case 'top'
            __godwit_parse_subcommand 0 'n/limit=' 'w/watch' 'interval=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
        case 'ca'
            __godwit_parse_subcommand 0 'version' 'h/help'
            switch $unparsed_tokens[1]
            case 'init'
                __godwit_parse_subcommand 0 'cluster=' 'folder=' 'o/output=' 'color=' 'version' 'h/help'
            case 'delegate'
                __godwit_parse_subcommand 0 'site=' 'lifetime=' 'out=' 'folder=' 'o/output=' 'color=' 'version' 'h/help'
            case 'issue'
                __godwit_parse_subcommand 0 'node=' 'site=' 'role=' 'user=' 'right=' 'lifetime=' 'out=' 'trust=+' 'folder=' 'o/output=' 'color=' 'version' 'h/help'
            case 'renew'
                __godwit_parse_subcommand 1 'lifetime=' 'new-key' 'out=' 'folder=' 'o/output=' 'color=' 'version' 'h/help'
            case 'show'
                __godwit_parse_subcommand 1 'o/output=' 'color=' 'version' 'h/help'
            case 'revoke'
                __godwit_parse_subcommand 1 'reason=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'revocations'
                __godwit_parse_subcommand 0 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
            case 'trust'
                __godwit_parse_subcommand 0 'version' 'h/help'
                switch $unparsed_tokens[1]
                case 'add'
                    __godwit_parse_subcommand 1 'site=' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
                case 'list'
                    __godwit_parse_subcommand 0 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
                case 'remove'
                    __godwit_parse_subcommand 1 'force' 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
                end
            end
        case 'completions'
            __godwit_parse_subcommand 1 'agent=+' 'identity=' 'timeout=' 'o/output=' 'color=' 'version' 'h/help'
        case 'help'
            __godwit_parse_subcommand -r 1 'version'
        end
    end
end

function __godwit_tokens
    if test (string split -m 1 -f 1 -- . "$FISH_VERSION") -gt 3
        commandline --tokens-raw $argv
    else
        commandline -o $argv
    end
end

function __godwit_parse_subcommand -S -a positional_count
    argparse -s r -- $argv
    set -l option_specs $argv[2..]
    set -l is_repeating_positional $_flag_r
    set -el _flag_r
    set -a commands $unparsed_tokens[1]
    set positional_index 0
    while true
        set -e unparsed_tokens[1]
        argparse -sn "$commands" $option_specs -- $unparsed_tokens 2> /dev/null
        set unparsed_tokens $argv
        set positional_index (math $positional_index + 1)
        for non_repeating_flag_or_option in $non_repeating_flags_or_options
            if set -ql "_flag_$(string replace -a - _ -- $non_repeating_flag_or_option)"
                set non_repeating_flags_or_options_absent 1
                break
            end
        end
        test (count $unparsed_tokens) -eq 0 -o \( -z "$is_repeating_positional" -a "$positional_index" -gt "$positional_count" \) && break
    end
end

function __godwit_complete_directories
    set -l token (commandline -t)
    string match -- '*/' $token
    set -l subdirs $token*/
    printf %s\n $subdirs
end

function __godwit_custom_completion
    set -x SAP_SHELL fish
    set -x SAP_SHELL_VERSION $FISH_VERSION
    set -l tokens (__godwit_tokens -p)
    if test -z "$(__godwit_tokens -t)"
        set -l index (count (__godwit_tokens -pc))
        set tokens $tokens[..$index] \'\' $tokens[(math $index + 1)..]
    end
    command $tokens[1] $argv $tokens
end

complete -c 'godwit' -f
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit" -eq 1' -fa 'job' -d 'Submit jobs, follow them, act on them.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit" -eq 1' -fa 'node' -d 'Look at the machines, and take them out of service.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit" -eq 1' -fa 'cluster' -d 'Look at the cluster itself: members, voters, events, keys.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit" -eq 1' -fa 'status' -d 'Show whether the cluster is healthy, and what to do if not.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit" -eq 1' -fa 'top' -d 'Show what the nodes and jobs use, the busiest first.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit" -eq 1' -fa 'ca' -d 'Make the certificates of nodes and users, and revoke them.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit" -eq 1' -fa 'completions' -d 'Print a script that completes commands, names of jobs and of nodes in a shell.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit" -eq 1' -fa 'help' -d 'Show subcommand help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job" -eq 1' -fa 'submit' -d 'Submit a job.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job" -eq 1' -fa 'plan' -d 'Say whether a job\'s deadline would hold and why, without submitting it.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job" -eq 1' -fa 'list' -d 'List the jobs that have not ended.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job" -eq 1' -fa 'show' -d 'Show one job: progress, resources, checkpoints, latest decisions.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job" -eq 1' -fa 'watch' -d 'Follow a job, or all of them, live.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job" -eq 1' -fa 'explain' -d 'Tell a job\'s story: every decision with its reason and its numbers.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job" -eq 1' -fa 'logs' -d 'Print what a job wrote.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job" -eq 1' -fa 'checkpoint' -d 'Take a checkpoint of a running job.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job" -eq 1' -fa 'restore' -d 'Continue a job from a checkpoint.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job" -eq 1' -fa 'resize' -d 'Change a running job\'s resources.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job" -eq 1' -fa 'cancel' -d 'End a job: SIGTERM, and SIGKILL after the grace.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job submit" -eq 1' -fa '(set -l exts \'yaml\' \'yml\' \'json\';for p in (string match -e -- \'*/\' (commandline -t);or printf \n)*.{$exts};printf %s\n $p;end;__fish_complete_directories (commandline -t) \'\')'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job submit" allow-infeasible' -l 'allow-infeasible' -d 'Accept the job although its deadline cannot be met.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job submit" wait' -l 'wait' -d 'Follow the job and end with its fate.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job submit"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job submit" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job submit" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job submit" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job submit" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job submit" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job submit" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job plan" -eq 1' -fa '(set -l exts \'yaml\' \'yml\' \'json\';for p in (string match -e -- \'*/\' (commandline -t);or printf \n)*.{$exts};printf %s\n $p;end;__fish_complete_directories (commandline -t) \'\')'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job plan"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job plan" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job plan" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job plan" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job plan" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job plan" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job plan" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job list" a all' -s 'a' -l 'all' -d 'Also list the jobs that have ended.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job list"' -l 'state' -d 'Only jobs in this state; may be repeated.' -rfka 'queued starting restoring running checkpointing suspended stopping completed failed cancelled'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job list" w watch' -s 'w' -l 'watch' -d 'Ask again and again, and show what changes.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job list" interval' -l 'interval' -d 'The time between two questions of --watch.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job list"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job list" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job list" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job list" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job list" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job list" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job list" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job show" -eq 1' -fka '(godwit completions jobs 2>/dev/null)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job show" w watch' -s 'w' -l 'watch' -d 'Ask again and again, and show what changes.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job show" interval' -l 'interval' -d 'The time between two questions of --watch.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job show"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job show" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job show" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job show" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job show" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job show" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job show" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job watch" -eq 1' -fka '(godwit completions jobs 2>/dev/null)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job watch" interval' -l 'interval' -d 'The time between two pictures.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job watch"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job watch" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job watch" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job watch" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job watch" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job watch" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job watch" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job explain" -eq 1' -fka '(godwit completions jobs 2>/dev/null)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job explain" figure' -l 'figure' -d 'Also draw the story into this SVG file.' -rfa '(for p in (string match -e -- \'*/\' (commandline -t);or printf \n)*.\'svg\';printf %s\n $p;end;__fish_complete_directories (commandline -t) \'\')'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job explain" limit' -l 'limit' -d 'Only the newest decisions, at most this many; 0 for all.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job explain"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job explain" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job explain" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job explain" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job explain" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job explain" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job explain" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job logs" -eq 1' -fka '(godwit completions jobs 2>/dev/null)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job logs" f follow' -s 'f' -l 'follow' -d 'Go on until the job has ended.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job logs" n tail' -s 'n' -l 'tail' -d 'Only the last lines.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job logs" stdout' -l 'stdout' -d 'Only standard output.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job logs" stderr' -l 'stderr' -d 'Only standard error.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job logs" t timestamps' -s 't' -l 'timestamps' -d 'Put the time before each line.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job logs"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job logs" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job logs" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job logs" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job logs" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job logs" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job logs" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job checkpoint" -eq 1' -fka '(godwit completions jobs 2>/dev/null)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job checkpoint" stop' -l 'stop' -d 'Suspend the job after the checkpoint.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job checkpoint"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job checkpoint" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job checkpoint" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job checkpoint" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job checkpoint" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job checkpoint" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job checkpoint" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job restore" -eq 1' -fka '(godwit completions jobs 2>/dev/null)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job restore" generation' -l 'generation' -d 'The checkpoint. Default: the newest good one.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job restore"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job restore" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job restore" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job restore" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job restore" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job restore" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job restore" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job resize" -eq 1' -fka '(godwit completions jobs 2>/dev/null)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job resize" cpus' -l 'cpus' -d 'Pin the allocation to this many vCPUs.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job resize" auto' -l 'auto' -d 'Let the policy set the allocation again.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job resize" cpu-limit' -l 'cpu-limit' -d 'Never let it use more than this many vCPUs; none removes the limit.' -rfka 'none'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job resize" memory' -l 'memory' -d 'Set the memory limit, such as 1GiB.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job resize"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job resize" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job resize" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job resize" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job resize" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job resize" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job resize" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit job cancel" -eq 1' -fka '(godwit completions jobs 2>/dev/null)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job cancel" grace' -l 'grace' -d 'The time between SIGTERM and SIGKILL. Default: 10s.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job cancel"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job cancel" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job cancel" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job cancel" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job cancel" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job cancel" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit job cancel" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit node" -eq 1' -fa 'list' -d 'List the nodes: capacity, what is allocated, what is used.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit node" -eq 1' -fa 'show' -d 'Show one node: devices, capabilities with the remedy for each missing one, jobs.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit node" -eq 1' -fa 'cordon' -d 'Let a node take no new jobs; those that it has run on.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit node" -eq 1' -fa 'drain' -d 'Let a node take no new jobs and hand over those that it has.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit node" -eq 1' -fa 'undrain' -d 'Let a node take jobs again: ends a cordon or a drain.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit node" -eq 1' -fa 'leave' -d 'Let a drained node leave the cluster for good; its agent ends.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit node" -eq 1' -fa 'remove' -d 'Take a node out of the cluster that does not come back.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node list" w watch' -s 'w' -l 'watch' -d 'Ask again and again, and show what changes.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node list" interval' -l 'interval' -d 'The time between two questions of --watch.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node list"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node list" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node list" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node list" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node list" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node list" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node list" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit node show" -eq 1' -fka '(godwit completions nodes 2>/dev/null)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node show" w watch' -s 'w' -l 'watch' -d 'Ask again and again, and show what changes.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node show" interval' -l 'interval' -d 'The time between two questions of --watch.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node show"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node show" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node show" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node show" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node show" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node show" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node show" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit node cordon" -eq 1' -fka '(godwit completions nodes 2>/dev/null)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node cordon"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node cordon" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node cordon" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node cordon" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node cordon" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node cordon" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node cordon" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit node drain" -eq 1' -fka '(godwit completions nodes 2>/dev/null)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node drain" now' -l 'now' -d 'Stop the jobs at once instead of taking a last checkpoint first.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node drain"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node drain" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node drain" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node drain" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node drain" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node drain" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node drain" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit node undrain" -eq 1' -fka '(godwit completions nodes 2>/dev/null)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node undrain"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node undrain" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node undrain" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node undrain" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node undrain" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node undrain" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node undrain" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit node leave" -eq 1' -fka '(godwit completions nodes 2>/dev/null)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node leave" force' -l 'force' -d 'Let the node go although it has the only checkpoints of some jobs.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node leave"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node leave" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node leave" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node leave" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node leave" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node leave" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node leave" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit node remove" -eq 1' -fka '(godwit completions nodes 2>/dev/null)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node remove" revoke' -l 'revoke' -d 'Refuse the node\'s certificates from now on as well.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node remove" force' -l 'force' -d 'Remove it although it has the only checkpoints of some jobs.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node remove"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node remove" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node remove" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node remove" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node remove" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node remove" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit node remove" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit cluster" -eq 1' -fa 'status' -d 'Show whether the cluster is healthy, and what to do if not; the same as \'godwit status\'.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit cluster" -eq 1' -fa 'members' -d 'List the nodes as the cluster\'s state, gossip and consensus see them.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit cluster" -eq 1' -fa 'voters' -d 'Show consensus: leader, term, who votes, how far each has come.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit cluster" -eq 1' -fa 'events' -d 'Tell what happened to the cluster: who asked for what, who came, who went, who led.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit cluster" -eq 1' -fa 'keyring' -d 'The keys that gossip between agents is sealed with.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster status" w watch' -s 'w' -l 'watch' -d 'Ask again and again, and show what changes.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster status" interval' -l 'interval' -d 'The time between two questions of --watch.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster status"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster status" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster status" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster status" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster status" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster status" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster status" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster members" w watch' -s 'w' -l 'watch' -d 'Ask again and again, and show what changes.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster members" interval' -l 'interval' -d 'The time between two questions of --watch.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster members"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster members" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster members" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster members" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster members" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster members" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster members" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster voters" w watch' -s 'w' -l 'watch' -d 'Ask again and again, and show what changes.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster voters" interval' -l 'interval' -d 'The time between two questions of --watch.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster voters"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster voters" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster voters" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster voters" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster voters" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster voters" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster voters" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster events" w watch' -s 'w' -l 'watch' -d 'Go on with what happens.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster events" limit n' -s 'n' -l 'limit' -d 'Begin with the newest so many.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster events" node' -l 'node' -d 'Only what is about this node.' -rfka '(godwit completions nodes 2>/dev/null)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster events"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster events" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster events" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster events" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster events" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster events" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster events" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster keyring" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster keyring" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit cluster keyring" -eq 1' -fa 'list' -d 'List the keys, without their secrets.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit cluster keyring" -eq 1' -fa 'rotate' -d 'Make a new key for gossip; the one before opens what is under way, older ones are forgotten.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster keyring list"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster keyring list" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster keyring list" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster keyring list" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster keyring list" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster keyring list" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster keyring list" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster keyring rotate"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster keyring rotate" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster keyring rotate" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster keyring rotate" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster keyring rotate" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster keyring rotate" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit cluster keyring rotate" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit status" w watch' -s 'w' -l 'watch' -d 'Ask again and again, and show what changes.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit status" interval' -l 'interval' -d 'The time between two questions of --watch.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit status"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit status" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit status" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit status" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit status" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit status" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit status" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit top" limit n' -s 'n' -l 'limit' -d 'Only so many jobs; 0 for all.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit top" w watch' -s 'w' -l 'watch' -d 'Ask again and again, and show what changes.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit top" interval' -l 'interval' -d 'The time between two questions of --watch.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit top"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit top" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit top" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit top" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit top" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit top" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit top" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit ca" -eq 1' -fa 'init' -d 'Make a cluster\'s certificate authority.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit ca" -eq 1' -fa 'delegate' -d 'Make an authority below this one, with which an agent renews the certificates of nodes.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit ca" -eq 1' -fa 'issue' -d 'Issue the identity of a node or a user.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit ca" -eq 1' -fa 'renew' -d 'Issue an identity again before it expires: the same key and names, a new end.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit ca" -eq 1' -fa 'show' -d 'Show the certificates in a file: whose they are, what they allow, until when.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit ca" -eq 1' -fa 'revoke' -d 'Refuse an identity or one certificate from now on, on every agent.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit ca" -eq 1' -fa 'revocations' -d 'List what is refused although its authority vouches for it.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit ca" -eq 1' -fa 'trust' -d 'Say which authorities the agents trust beside the one of their identity files.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca init" cluster' -l 'cluster' -d 'The cluster\'s name: a to z, 0 to 9 and -.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca init" folder' -l 'folder' -d 'The folder of ca.crt and ca.key. Default: ~/.config/godwit/ca.' -rfa '(__godwit_complete_directories)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca init" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca init" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca init" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca init" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca delegate" site' -l 'site' -d 'Only for nodes of this site. Default: nodes of every site.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca delegate" lifetime' -l 'lifetime' -d 'How long it is valid. Default: 1825d.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca delegate" out' -l 'out' -d 'Write ca.crt and ca.key to this new folder.' -rfa '(__godwit_complete_directories)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca delegate" folder' -l 'folder' -d 'The folder of ca.crt and ca.key. Default: ~/.config/godwit/ca.' -rfa '(__godwit_complete_directories)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca delegate" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca delegate" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca delegate" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca delegate" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca issue" node' -l 'node' -d 'Issue for this node.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca issue" site' -l 'site' -d 'The node\'s site.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca issue" role' -l 'role' -d 'What the node is for: worker or gateway. Default: worker.' -rfka 'worker gateway'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca issue" user' -l 'user' -d 'Issue for this user.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca issue" right' -l 'right' -d 'What the user may do: admin, submit (and act on jobs) or read. Default: read.' -rfka 'admin submit read'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca issue" lifetime' -l 'lifetime' -d 'How long it is valid. Default: 365d.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca issue" out' -l 'out' -d 'Write to this file. Default: NAME.pem in this folder.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca issue"' -l 'trust' -d 'Let it trust the authorities in this file as well; may be repeated.' -rfa '(set -l exts \'crt\' \'pem\';for p in (string match -e -- \'*/\' (commandline -t);or printf \n)*.{$exts};printf %s\n $p;end;__fish_complete_directories (commandline -t) \'\')'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca issue" folder' -l 'folder' -d 'The folder of ca.crt and ca.key. Default: ~/.config/godwit/ca.' -rfa '(__godwit_complete_directories)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca issue" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca issue" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca issue" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca issue" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit ca renew" -eq 1' -fa '(for p in (string match -e -- \'*/\' (commandline -t);or printf \n)*.\'pem\';printf %s\n $p;end;__fish_complete_directories (commandline -t) \'\')'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca renew" lifetime' -l 'lifetime' -d 'How long it is valid from now on. Default: as long as before.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca renew" new-key' -l 'new-key' -d 'Make a new key as well, for instance because the old one may have been read.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca renew" out' -l 'out' -d 'Write to this new file instead of replacing the old one.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca renew" folder' -l 'folder' -d 'The folder of ca.crt and ca.key. Default: ~/.config/godwit/ca.' -rfa '(__godwit_complete_directories)'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca renew" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca renew" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca renew" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca renew" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit ca show" -eq 1' -fa '(set -l exts \'pem\' \'crt\';for p in (string match -e -- \'*/\' (commandline -t);or printf \n)*.{$exts};printf %s\n $p;end;__fish_complete_directories (commandline -t) \'\')'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca show" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca show" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca show" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca show" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca revoke" reason' -l 'reason' -d 'Why, for the audit.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca revoke"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca revoke" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca revoke" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca revoke" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca revoke" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca revoke" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca revoke" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca revocations"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca revocations" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca revocations" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca revocations" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca revocations" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca revocations" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca revocations" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit ca trust" -eq 1' -fa 'add' -d 'Trust another authority of this cluster, so that a site can keep its own.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit ca trust" -eq 1' -fa 'list' -d 'List the authorities that are trusted, and which nodes live on them.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit ca trust" -eq 1' -fa 'remove' -d 'Trust an authority no longer, and shut out whom it vouches for.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit ca trust add" -eq 1' -fa '(set -l exts \'crt\' \'pem\';for p in (string match -e -- \'*/\' (commandline -t);or printf \n)*.{$exts};printf %s\n $p;end;__fish_complete_directories (commandline -t) \'\')'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust add" site' -l 'site' -d 'Only for nodes of this site. Default: nodes of every site, and users.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust add"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust add" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust add" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust add" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust add" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust add" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust add" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust list"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust list" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust list" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust list" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust list" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust list" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust list" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust remove" force' -l 'force' -d 'Shut out the nodes that live on it.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust remove"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust remove" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust remove" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust remove" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust remove" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust remove" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit ca trust remove" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_positional "godwit completions" -eq 1' -fka 'bash zsh fish'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit completions"' -l 'agent' -d 'Ask this agent; may be repeated, the first that answers is taken. Default: GODWIT_AGENT, then the lines of ~/.config/godwit/agent, then 127.0.0.1:7420.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit completions" identity' -l 'identity' -d 'Certificate, key and authority in one PEM file. Default: GODWIT_IDENTITY, then ~/.config/godwit/identity.pem.' -rF
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit completions" timeout' -l 'timeout' -d 'The longest a request may take, such as 5s or 2min. Default: 30s; 15min for checkpoint and restore.' -rfka ''
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit completions" o output' -s 'o' -l 'output' -d 'Print a table for people, or JSON for programs.' -rfka 'table json'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit completions" color' -l 'color' -d 'Use colours.' -rfka 'auto always never'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit completions" version' -l 'version' -d 'Show the version.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit completions" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'godwit' -n '__godwit_should_offer_completions_for_flags_or_options "godwit help" version' -l 'version' -d 'Show the version.'
