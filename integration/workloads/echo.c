/* Listens on the port that its first argument names, and sends back what comes over one connection until that ends. All the while it looks at so many MiB
 * of its memory, by its second argument, a page with each message, and ends with 4 when a page is not what it was. */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const size_t words_of_page = 4096 / sizeof(uint64_t);

static void fill(uint64_t *page, uint64_t seed)
{
    for (size_t word = 0; word < words_of_page; word++) page[word] = (seed + word) * 0x9E3779B97F4A7C15u;
}

static int is_filled(const uint64_t *page, uint64_t seed)
{
    for (size_t word = 0; word < words_of_page; word++)
        if (page[word] != (seed + word) * 0x9E3779B97F4A7C15u) return 0;
    return 1;
}

int main(int count, char **words)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(words[1]) : 7000)};
    size_t pages = count > 2 ? (size_t)atoi(words[2]) * 256 : 1;
    uint64_t *memory = aligned_alloc(4096, pages * 4096), round = 0;
    if (!memory) return perror("memory"), 1;
    for (size_t page = 0; page < pages; page++) fill(memory + page * words_of_page, page);
    int listening = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listening, (struct sockaddr *)&address, sizeof address) || listen(listening, 1)) return perror("listen"), 1;
    int in = accept(listening, NULL, NULL);
    static char bytes[65536];
    for (ssize_t got; (got = read(in, bytes, sizeof bytes)) != 0; round++) {
        if (got < 0) return perror("read"), 2;
        for (ssize_t done = 0, sent; done < got; done += sent)
            if ((sent = write(in, bytes + done, got - done)) < 0) return perror("write"), 3;
        /* Far from each other, so that no page comes because its neighbour was asked for; what is looked at changes. */
        size_t page = round * 997 % pages;
        uint64_t *there = memory + page * words_of_page, seed = page + round / pages * pages;
        if (!is_filled(there, seed)) return fprintf(stderr, "page %zu is not what it was\n", page), 4;
        fill(there, seed + pages);
    }
    return 0;
}
