/* Ends in the way that its first argument names: code:N, segv, memory (until it is killed), flood (prints 8 MiB),
 * open FILE... (prints its user and whether it may open each, and ends with code 5 when it may not). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int count, char **words)
{
    const char *how = count > 1 ? words[1] : "code:0";
    if (!strncmp(how, "code:", 5)) return atoi(how + 5);
    if (!strcmp(how, "segv")) *(volatile int *)8 = 1;
    if (!strcmp(how, "memory"))
        for (;;) memset(malloc(1 << 20), 1, 1 << 20);
    if (!strcmp(how, "flood"))
        for (int i = 0; i < 131072; i++) printf("%06d %056d\n", i, i);
    if (!strcmp(how, "open")) {
        int denied = 0;
        printf("user %d group %d\n", (int)getuid(), (int)getgid());
        for (int i = 2; i < count; i++) {
            int isOpen = open(words[i], O_RDONLY) >= 0;
            printf("%s %s\n", words[i], isOpen ? "opens" : "is closed");
            denied += !isOpen;
        }
        return denied ? 5 : 0;
    }
    return 0;
}
