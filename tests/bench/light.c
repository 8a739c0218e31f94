/* The light service of the benchmark: starts in under 1 ms, says when, and answers every request on 127.0.0.1.

   light ... --port PORT [--starts FIFO]

   Its first act is to take the time, its second to write the line "PORT PID NANOSECONDS" (CLOCK_MONOTONIC) to the FIFO:
   so a latency is exact however late somebody reads it. Other arguments are ignored, so that it can stand in for OpenCode
   and for the user's own MCP tool: with OPENCODE_SERVER_PASSWORD or MCP_BEARER_TOKEN in its environment it answers 401
   to whoever does not have it. The FIFO is named by --starts, else by LIGHT_STARTS, else it is $HOME/starts. */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char *option(int count, char **values, const char *name) {
  for (int index = 1; index + 1 < count; index++)
    if (strcmp(values[index], name) == 0) return values[index + 1];
  return NULL;
}

static void tell(const char *path, int port, long long now) {
  char line[64], home[4096];
  if (path == NULL) path = getenv("LIGHT_STARTS");
  if (path == NULL) {
    snprintf(home, sizeof home, "%s/starts", getenv("HOME") ? getenv("HOME") : "");
    path = home;
  }
  int length = snprintf(line, sizeof line, "%d %d %lld\n", port, (int)getpid(), now);
  int fifo = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
  if (fifo < 0 || write(fifo, line, length) != length) perror(path);
  close(fifo);
}

static void base64(const char *text, char *out) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t length = strlen(text);
  for (size_t at = 0; at < length; at += 3) {
    unsigned group = (unsigned char)text[at] << 16;
    if (at + 1 < length) group |= (unsigned char)text[at + 1] << 8;
    if (at + 2 < length) group |= (unsigned char)text[at + 2];
    *out++ = digits[group >> 18];
    *out++ = digits[group >> 12 & 63];
    *out++ = at + 1 < length ? digits[group >> 6 & 63] : '=';
    *out++ = at + 2 < length ? digits[group & 63] : '=';
  }
  *out = 0;
}

static void wanted(char *out, size_t size) {
  const char *password = getenv("OPENCODE_SERVER_PASSWORD"), *token = getenv("MCP_BEARER_TOKEN");
  char pair[512], coded[1024];
  *out = 0;
  if (password != NULL) {
    snprintf(pair, sizeof pair, "opencode:%s", password);
    base64(pair, coded);
    snprintf(out, size, "\nauthorization: Basic %s\r\n", coded);
  } else if (token != NULL) {
    snprintf(out, size, "\nauthorization: Bearer %s\r\n", token);
  }
}

static void answer(int client, const char *secret) {
  static const char allowed[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n"
                                "connection: close\r\n\r\n{}";
  static const char refused[] = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
  char request[16384];
  size_t got = 0, needed = sizeof request - 1;
  while (got < needed) {
    ssize_t more = read(client, request + got, sizeof request - 1 - got);
    if (more <= 0) return;
    got += (size_t)more;
    request[got] = 0;
    char *end = strstr(request, "\r\n\r\n"), *length = strcasestr(request, "\ncontent-length:");
    if (end != NULL) needed = (size_t)(end + 4 - request) + (length && length < end ? strtoul(length + 16, NULL, 10) : 0);
  }
  const char *reply = *secret == 0 || strcasestr(request, secret) != NULL ? allowed : refused;
  if (write(client, reply, strlen(reply)) < 0) perror("answer");
}

int main(int count, char **values) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const char *number = option(count, values, "--port");
  int port = number ? atoi(number) : 0, yes = 1;
  if (port == 0) return 0; /* nothing but a start and an end */
  tell(option(count, values, "--starts"), port, now.tv_sec * 1000000000LL + now.tv_nsec);
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(server, (struct sockaddr *)&here, sizeof here) != 0 || listen(server, 64) != 0) {
    perror("cannot listen");
    return 1;
  }
  char secret[1100];
  wanted(secret, sizeof secret);
  for (;;) {
    int client = accept(server, NULL, NULL);
    if (client >= 0) {
      answer(client, secret);
      close(client);
    }
  }
}
