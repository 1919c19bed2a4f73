/* A single static binary that serves HTTP, as one written in Go would: server TEXT [PORT]
 *
 * It answers every request with TEXT and its pid. It listens on the port, or on the sockets that it was handed
 * (LISTEN_FDS, LISTEN_PID). With DAEMONIZE=1 in its environment it puts itself into the background.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 128) != 0) {
        perror("server: cannot listen");
        exit(1);
    }
    return fd;
}

static void answer(int fd, const char *text) {
    char request[4096], body[512], reply[1024];
    if (read(fd, request, sizeof request) > 0) {
        int size = snprintf(body, sizeof body, "%s %d", text, (int)getpid());
        int length = snprintf(reply, sizeof reply, "HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, body);
        if (write(fd, reply, length) != length) perror("server: write");
    }
    close(fd);
}

int main(int argc, char **argv) {
    struct pollfd doors[16];
    int count = 0;
    const char *fds = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
    if (argc < 2) return 2;
    if (fds && pid && atoi(pid) == getpid())
        for (; count < atoi(fds) && count < 16; count++) doors[count].fd = 3 + count;
    else
        doors[count++].fd = listen_on(argc > 2 ? atoi(argv[2]) : 0);
    if (getenv("DAEMONIZE") && daemon(1, 0) != 0) return 1;
    for (;;) {
        for (int i = 0; i < count; i++) doors[i].events = POLLIN;
        if (poll(doors, count, -1) < 0) continue;
        for (int i = 0; i < count; i++)
            if (doors[i].revents) answer(accept(doors[i].fd, NULL, NULL), argv[1]);
    }
}
