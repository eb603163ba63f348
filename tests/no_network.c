/* Loaded before libc (LD_PRELOAD): whatever a process reaches for over a network fails, and is a line of $NETWORK_LOG.
   Python, its extensions in C++ and Rust, and every child process go through these functions. Sockets between processes
   of one machine (AF_UNIX) work as ever. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void note(const char *call, const char *whereto) {
  char line[512];
  int length = snprintf(line, sizeof line, "%s %s (%s)\n", call, whereto, program_invocation_short_name);
  if (length >= (int)sizeof line) length = sizeof line - 1;
  int log = open(getenv("NETWORK_LOG"), O_WRONLY | O_APPEND | O_CREAT, 0666);
  if (log < 0 || write(log, line, length) != length) abort(); /* never unseen */
  close(log);
}

/* Whether an address is out of this machine's own files; noted if so. */
static int refused(const char *call, const struct sockaddr *address) {
  char host[INET6_ADDRSTRLEN] = "?";
  if (!address) return 0;
  if (address->sa_family == AF_INET)
    inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, host, sizeof host);
  else if (address->sa_family == AF_INET6)
    inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, host, sizeof host);
  else
    return 0;
  note(call, host);
  errno = ENETUNREACH;
  return 1;
}

int connect(int socket, const struct sockaddr *address, socklen_t length) {
  int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
  return refused("connect", address) ? -1 : real(socket, address, length);
}

ssize_t sendto(int socket, const void *data, size_t size, int flags, const struct sockaddr *address, socklen_t length) {
  ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "sendto");
  return refused("sendto", address) ? -1 : real(socket, data, size, flags, address, length);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
      dlsym(RTLD_NEXT, "getaddrinfo");
  if (!node) return real(node, service, hints, found);
  note("getaddrinfo", node);
  return EAI_FAIL;
}

struct hostent *gethostbyname(const char *name) {
  note("gethostbyname", name);
  h_errno = NO_RECOVERY;
  return NULL;
}
