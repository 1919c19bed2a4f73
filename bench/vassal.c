/* A vassal that costs next to nothing: says that it is up, accepting and loyal, and waits for orders.
   With BENCH_REPORT in the environment it tells a datagram socket when it started and when it was told to reload. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int report_fd = -1;
static struct sockaddr_un report_address = {AF_UNIX};

static void report(const char *what, const char *name) {
    char text[512];
    struct timespec now;
    if (report_fd < 0) return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int size = snprintf(text, sizeof text, "%s %d %lld %s", what, (int)getpid(),
                        now.tv_sec * 1000000000LL + now.tv_nsec, name);
    sendto(report_fd, text, size, 0, (struct sockaddr *)&report_address, sizeof report_address);
}

int main(int argc, char **argv) {
    char byte;
    const char *name = argc > 1 ? argv[argc - 1] : "", *fd_text = getenv("UWSGI_EMPEROR_FD");
    const char *where = getenv("BENCH_REPORT");
    if (where) {
        report_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        strncpy(report_address.sun_path, where, sizeof report_address.sun_path - 1);
    }
    report("start", name);
    if (!strncmp(name, "bomb", 4)) return 1;
    if (!fd_text) return 1;
    int fd = atoi(fd_text);
    if (write(fd, "\1\5\21", 3) != 3) return 1;
    while (read(fd, &byte, 1) == 1) {
        if (byte != 1) return 0;
        report("reload", name);
    }
    return 0;
}
