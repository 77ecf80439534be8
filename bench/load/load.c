// The load generator of the benchmark: one program for every contender, so that only what lies between its two ends differs.
//
//   load serve ADDRESS PORT CPU              four servers, one process each: PORT crr, PORT+1 rr, PORT+2 stream, PORT+3 udp
//   load run MODE ADDRESS PORT SECONDS CPU   one client; prints one line of JSON
//
// Modes: crr    connect, send 64 bytes, read 64 bytes until the server closes, close: connections per second
//        rr     one byte there and back on one connection: transactions per second
//        stream one connection, 128 KiB writes: bytes per second that the server has read. Its congestion control is cubic, whatever
//               the machine's is: BBR sends by a clock of its own, and where a path is faster than that clock, measures its timer
//        udp    64-byte datagrams as fast as sendmmsg goes: datagrams per second that the server has read
//
// Every process is pinned to the given CPU and runs at the highest ordinary priority, so that what else the machine does
// disturbs little. ADDRESS may be IPv4 or IPv6.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 64, BLOCK = 128 << 10, BATCH = 64 };

static char block[BLOCK];

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void pin(const char *cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(atoi(cpu), &set);
	if (sched_setaffinity(0, sizeof set, &set))
		die("sched_setaffinity");
	if (setpriority(PRIO_PROCESS, 0, -20))
		die("setpriority");
	FILE *f = fopen("/proc/self/autogroup", "w"); // where it exists, nice counts inside a session only, and this between sessions
	if (f) {
		fputs("-20", f);
		fclose(f);
	}
}

static struct addrinfo *resolve(const char *address, int port, int type)
{
	struct addrinfo hints = {.ai_socktype = type, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *found;
	char service[8];
	snprintf(service, sizeof service, "%d", port);
	if (getaddrinfo(address, service, &hints, &found)) {
		errno = EINVAL;
		die(address);
	}
	return found;
}

static void option(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof value))
		die("setsockopt");
}

// A lost answer must end as a counted error, not as a benchmark that hangs.
static void patience(int fd, double seconds)
{
	struct timeval t = {.tv_sec = (long)seconds, .tv_usec = (long)((seconds - (long)seconds) * 1e6)};
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t))
		die("timeout");
}

static int dial(struct addrinfo *a)
{
	int fd = socket(a->ai_family, a->ai_socktype, 0);
	if (fd < 0)
		die("socket");
	patience(fd, 2);
	if (a->ai_socktype == SOCK_STREAM)
		option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (connect(fd, a->ai_addr, a->ai_addrlen)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int listening(const char *address, int port, int type)
{
	struct addrinfo *a = resolve(address, port, type);
	int fd = socket(a->ai_family, type, 0);
	if (fd < 0)
		die("socket");
	option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(fd, a->ai_addr, a->ai_addrlen))
		die("bind");
	if (type == SOCK_STREAM && listen(fd, 1024))
		die("listen");
	return fd;
}

// read_all reads n bytes; 0 when the peer has closed before.
static int read_all(int fd, char *to, int n)
{
	for (int got = 0; got < n;) {
		ssize_t r = read(fd, to + got, n - got);
		if (r <= 0)
			return 0;
		got += r;
	}
	return 1;
}

static int next(int fd)
{
	int c = accept(fd, NULL, NULL);
	if (c >= 0)
		option(c, IPPROTO_TCP, TCP_NODELAY, 1);
	return c;
}

// The server closes first: the waiting state is its own, and the client's ports are free again.
static void serve_crr(int fd)
{
	for (;;) {
		int c = next(fd);
		if (c < 0)
			continue;
		patience(c, 2);
		if (read_all(c, block, MESSAGE) && write(c, block, MESSAGE) != MESSAGE)
			fprintf(stderr, "load: crr: short answer\n");
		close(c);
	}
}

static void serve_rr(int fd)
{
	for (;;) {
		int c = next(fd);
		char b;
		if (c < 0)
			continue;
		while (read(c, &b, 1) == 1 && write(c, &b, 1) == 1)
			;
		close(c);
	}
}

// The client ends its side; the server then says how much it has read, and when the first and the last of it came.
static void serve_stream(int fd)
{
	for (;;) {
		int c = next(fd);
		if (c < 0)
			continue;
		uint64_t total = 0;
		ssize_t r;
		while ((r = read(c, block, BLOCK)) > 0)
			total += r;
		if (write(c, &total, sizeof total) != sizeof total)
			fprintf(stderr, "load: stream: short answer\n");
		close(c);
	}
}

// A datagram of another length than MESSAGE asks for the count since the last question.
static void serve_udp(int fd)
{
	static char buffers[BATCH][MESSAGE];
	struct mmsghdr messages[BATCH];
	struct iovec vectors[BATCH];
	uint64_t total = 0;
	option(fd, SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20);
	for (;;) {
		struct sockaddr_storage from;
		memset(messages, 0, sizeof messages);
		for (int i = 0; i < BATCH; i++) {
			vectors[i] = (struct iovec){buffers[i], MESSAGE};
			messages[i].msg_hdr.msg_iov = &vectors[i];
			messages[i].msg_hdr.msg_iovlen = 1;
		}
		messages[0].msg_hdr.msg_name = &from;
		messages[0].msg_hdr.msg_namelen = sizeof from;
		int n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
		for (int i = 0; i < n; i++) {
			if (messages[i].msg_len == MESSAGE) {
				total++;
				continue;
			}
			// the one client there is: whoever sent the batch's first datagram asked
			sendto(fd, &total, sizeof total, 0, (struct sockaddr *)&from, messages[0].msg_hdr.msg_namelen);
			total = 0;
		}
	}
}

static void serve(const char *address, int port, const char *cpu)
{
	void (*servers[])(int) = {serve_crr, serve_rr, serve_stream, serve_udp};
	signal(SIGPIPE, SIG_IGN);
	pin(cpu);
	for (int i = 0; i < 4; i++) {
		int fd = listening(address, port + i, i == 3 ? SOCK_DGRAM : SOCK_STREAM);
		pid_t child = fork();
		if (child < 0)
			die("fork");
		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			servers[i](fd);
		}
		close(fd);
	}
	printf("ready\n");
	fflush(stdout);
	while (wait(NULL) > 0)
		;
}

static uint64_t errors;
static double finished; // when the last byte of load was sent, for modes that go on asking; 0 otherwise

static uint64_t run_crr(const char *address, int port, double until)
{
	struct addrinfo *a = resolve(address, port, SOCK_STREAM);
	uint64_t count = 0;
	char b[MESSAGE + 1];
	while (now() < until) {
		int fd = dial(a);
		if (fd < 0) {
			errors++;
			continue;
		}
		if (write(fd, block, MESSAGE) == MESSAGE && read_all(fd, b, MESSAGE) && read(fd, b, 1) == 0)
			count++;
		else
			errors++;
		close(fd);
	}
	return count;
}

static uint64_t run_rr(const char *address, int port, double until)
{
	int fd = dial(resolve(address, port + 1, SOCK_STREAM));
	uint64_t count = 0;
	char b = 1;
	if (fd < 0)
		die("connect");
	while (now() < until) {
		for (int i = 0; i < 16; i++, count++)
			if (write(fd, &b, 1) != 1 || read(fd, &b, 1) != 1) {
				errors++;
				return count;
			}
	}
	close(fd);
	return count;
}

static uint64_t run_stream(const char *address, int port, double until)
{
	int fd = dial(resolve(address, port + 2, SOCK_STREAM));
	uint64_t total = 0;
	if (fd < 0)
		die("connect");
	if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", strlen("cubic")))
		die("congestion control cubic");
	while (now() < until)
		if (write(fd, block, BLOCK) < 0) {
			errors++;
			break;
		}
	shutdown(fd, SHUT_WR);
	if (!read_all(fd, (char *)&total, sizeof total))
		errors++;
	close(fd);
	return total;
}

// ask gets the server's count; questions and answers are datagrams too, so it asks until one comes back.
static uint64_t ask(int fd)
{
	uint64_t total = 0;
	for (int i = 0; i < 20; i++) {
		if (send(fd, "?", 1, 0) == 1 && recv(fd, &total, sizeof total, 0) == sizeof total)
			return total;
	}
	errors++;
	return 0;
}

static uint64_t run_udp(const char *address, int port, double until)
{
	int fd = dial(resolve(address, port + 3, SOCK_DGRAM));
	struct mmsghdr messages[BATCH];
	struct iovec vector = {block, MESSAGE};
	if (fd < 0)
		die("connect");
	patience(fd, 0.2);
	option(fd, SOL_SOCKET, SO_SNDBUFFORCE, 4 << 20);
	ask(fd);
	memset(messages, 0, sizeof messages);
	for (int i = 0; i < BATCH; i++) {
		messages[i].msg_hdr.msg_iov = &vector;
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	while (now() < until)
		if (sendmmsg(fd, messages, BATCH, 0) < 0 && errno != ENOBUFS && errno != EAGAIN)
			die("sendmmsg");
	finished = now();
	uint64_t total = ask(fd);
	close(fd);
	return total;
}

static void run(const char *mode, const char *address, int port, double seconds, const char *cpu)
{
	static const struct {
		const char *name;
		uint64_t (*client)(const char *, int, double);
	} modes[] = {{"crr", run_crr}, {"rr", run_rr}, {"stream", run_stream}, {"udp", run_udp}};
	signal(SIGPIPE, SIG_IGN);
	pin(cpu);
	for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++) {
		if (strcmp(mode, modes[i].name))
			continue;
		double start = now();
		uint64_t count = modes[i].client(address, port, start + seconds);
		double took = (finished ? finished : now()) - start;
		printf("{\"mode\":\"%s\",\"count\":%llu,\"seconds\":%.6f,\"rate\":%.1f,\"errors\":%llu}\n", mode, (unsigned long long)count,
		       took, count / took, (unsigned long long)errors);
		return;
	}
	errno = EINVAL;
	die(mode);
}

int main(int argc, char **argv)
{
	memset(block, 'x', sizeof block);
	if (argc == 5 && !strcmp(argv[1], "serve"))
		serve(argv[2], atoi(argv[3]), argv[4]);
	else if (argc == 7 && !strcmp(argv[1], "run"))
		run(argv[2], argv[3], atoi(argv[4]), atof(argv[5]), argv[6]);
	else {
		fprintf(stderr, "usage: load serve ADDRESS PORT CPU | load run crr|rr|stream|udp ADDRESS PORT SECONDS CPU\n");
		return 2;
	}
	return 0;
}
