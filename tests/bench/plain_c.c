/* What plain sockets can do here: the yardstick of tests/bench.
 *
 * Two of these talk over TCP. One request per batch carries the whole block table; payload goes by writev and readv
 * from and to the scattered blocks; one acknowledgement ends a WRITE, the data itself a READ. No checks, no checksum,
 * no retries. Blocking sockets, one thread per connection at the target, at the initiator one caller for each
 * connection.
 *
 * It is driven by lines on stdin and answers each with one line of JSON, like worker.py; see there for the commands. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNS = 8, MAX_THREADS = 64, MAX_IOV = 1024, MAX_REPS = 1 << 16, SPLIT_FROM = 128 << 10 };
enum { OP_READ = 1, OP_WRITE = 2 };

/* The pools of this process: `source` has the pattern that every process has, `sink` takes what comes. */
static uint8_t *source, *sink;
static uint64_t pool_bytes;

static void die(const char *what)
{
  fprintf(stderr, "plain_c: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu_seconds(void)
{
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static void *pages(uint64_t n)
{
  void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    die("mmap");
  /* Ordinary 4 KiB pages for everybody, whatever the machine's setting. */
  (void)madvise(p, n, MADV_NOHUGEPAGE);
  return p;
}

/* ---- a plan: which blocks, in how many sets --------------------------------------------------------------------- */

struct plan {
  uint64_t sets, blocks, size, threads;
  const uint64_t *words; /* for each set: local offsets, then remote ones */
};

static const uint64_t *local_offsets(const struct plan *p, uint64_t set) { return p->words + set * 2 * p->blocks; }
static const uint64_t *remote_offsets(const struct plan *p, uint64_t set) { return local_offsets(p, set) + p->blocks; }

static struct plan load_plan(const char *path)
{
  int fd = open(path, O_RDONLY);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0)
    die(path);
  const uint64_t *w = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (w == MAP_FAILED)
    die(path);
  close(fd);
  return (struct plan){.sets = w[0], .blocks = w[1], .size = w[2], .threads = w[3], .words = w + 4};
}

/* ---- moving iovecs ----------------------------------------------------------------------------------------------- */

/* Moves all of iov[0..n) over fd. The array is changed. */
static int move_all(int fd, struct iovec *iov, uint64_t n, int out)
{
  while (n > 0) {
    int count = (int)(n < MAX_IOV ? n : MAX_IOV);
    ssize_t got = out ? writev(fd, iov, count) : readv(fd, iov, count);
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      return -1;
    while (n > 0 && (size_t)got >= iov->iov_len) {
      got -= (ssize_t)iov->iov_len;
      iov++;
      n--;
    }
    if (n > 0) {
      iov->iov_base = (uint8_t *)iov->iov_base + got;
      iov->iov_len -= (size_t)got;
    }
  }
  return 0;
}

struct entry {
  uint64_t off, len;
};
struct header {
  uint64_t op, count;
};

static void no_delay(int fd)
{
  int one = 1;
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* ---- target ------------------------------------------------------------------------------------------------------ */

static void *serve(void *arg)
{
  int fd = (int)(intptr_t)arg;
  uint64_t room = 0;
  struct entry *table = NULL;
  struct iovec *iov = NULL;
  for (;;) {
    struct header h;
    struct iovec one = {&h, sizeof h};
    if (move_all(fd, &one, 1, 0) != 0)
      break;
    if (h.count == 0 || h.count > 1 << 20)
      break;
    if (h.count > room) {
      room = h.count;
      table = realloc(table, room * sizeof *table);
      iov = realloc(iov, room * sizeof *iov);
      if (!table || !iov)
        die("realloc");
    }
    one = (struct iovec){table, h.count * sizeof *table};
    if (move_all(fd, &one, 1, 0) != 0)
      break;
    uint8_t *base = h.op == OP_WRITE ? sink : source;
    for (uint64_t i = 0; i < h.count; i++) {
      if (table[i].off > pool_bytes || table[i].len > pool_bytes - table[i].off)
        exit(1);
      iov[i] = (struct iovec){base + table[i].off, table[i].len};
    }
    if (move_all(fd, iov, h.count, h.op == OP_READ) != 0)
      break;
    if (h.op == OP_WRITE) {
      uint64_t ack = h.count;
      one = (struct iovec){&ack, sizeof ack};
      if (move_all(fd, &one, 1, 1) != 0)
        break;
    }
  }
  free(table);
  free(iov);
  close(fd);
  return NULL;
}

static void *accept_all(void *arg)
{
  int listener = (int)(intptr_t)arg;
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
      continue;
    no_delay(fd);
    pthread_t t;
    if (pthread_create(&t, NULL, serve, (void *)(intptr_t)fd) != 0)
      die("pthread_create");
    pthread_detach(t);
  }
  return NULL;
}

static int listen_anywhere(void)
{
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof a;
  if (fd < 0 || bind(fd, (struct sockaddr *)&a, n) != 0 || listen(fd, 64) != 0)
    die("listen");
  if (getsockname(fd, (struct sockaddr *)&a, &n) != 0)
    die("getsockname");
  pthread_t t;
  if (pthread_create(&t, NULL, accept_all, (void *)(intptr_t)fd) != 0)
    die("pthread_create");
  return ntohs(a.sin_port);
}

/* ---- initiator --------------------------------------------------------------------------------------------------- */

static int conns[MAX_CONNS];
static int conn_count;
static pthread_mutex_t conn_lock[MAX_CONNS];

/* One batch, or a connection's share of one, laid out before the clock runs. */
struct share {
  struct header header;
  struct entry *table;
  struct iovec *iov;     /* payload */
  struct iovec *scratch; /* the same, used up by a transfer; two more in front */
};

static struct share make_share(const struct plan *p, int op, uint64_t set, uint64_t from, uint64_t to)
{
  /* Bytes [from, to) of the batch. */
  uint64_t first = from / p->size, last = (to + p->size - 1) / p->size, n = last - first;
  struct share s = {.header = {(uint64_t)op, n}};
  s.table = malloc(n * sizeof *s.table);
  s.iov = malloc(n * sizeof *s.iov);
  s.scratch = malloc((n + 2) * sizeof *s.scratch);
  if (!s.table || !s.iov || !s.scratch)
    die("malloc");
  uint8_t *base = op == OP_READ ? sink : source;
  for (uint64_t i = first; i < last; i++) {
    uint64_t a = i * p->size < from ? from - i * p->size : 0;
    uint64_t b = (i + 1) * p->size > to ? to - i * p->size : p->size;
    s.table[i - first] = (struct entry){remote_offsets(p, set)[i] + a, b - a};
    s.iov[i - first] = (struct iovec){base + local_offsets(p, set)[i] + a, b - a};
  }
  return s;
}

static void transfer(int conn, struct share *s)
{
  uint64_t n = s->header.count;
  struct iovec *v = s->scratch;
  v[0] = (struct iovec){&s->header, sizeof s->header};
  v[1] = (struct iovec){s->table, n * sizeof *s->table};
  memcpy(v + 2, s->iov, n * sizeof *v);
  int fd = conns[conn], bad;
  if (s->header.op == OP_WRITE) {
    uint64_t ack = 0;
    struct iovec one = {&ack, sizeof ack};
    bad = move_all(fd, v, n + 2, 1) || move_all(fd, &one, 1, 0) || ack != n;
  } else {
    bad = move_all(fd, v, 2, 1) || move_all(fd, v + 2, n, 0);
  }
  if (bad)
    die("transfer");
}

/* The helpers of a single caller with several connections: each moves its share of every batch. */
struct helper {
  pthread_mutex_t lock;
  pthread_cond_t wake;
  struct share *work; /* NULL: idle */
  int conn, quit;
  pthread_t thread;
};

static void *help(void *arg)
{
  struct helper *h = arg;
  pthread_mutex_lock(&h->lock);
  while (!h->quit) {
    if (!h->work) {
      pthread_cond_wait(&h->wake, &h->lock);
      continue;
    }
    struct share *s = h->work;
    pthread_mutex_unlock(&h->lock);
    transfer(h->conn, s);
    pthread_mutex_lock(&h->lock);
    h->work = NULL;
    pthread_cond_broadcast(&h->wake);
  }
  pthread_mutex_unlock(&h->lock);
  return NULL;
}

static void give(struct helper *h, struct share *s)
{
  pthread_mutex_lock(&h->lock);
  h->work = s;
  pthread_cond_broadcast(&h->wake);
  pthread_mutex_unlock(&h->lock);
}

static void join_work(struct helper *h)
{
  pthread_mutex_lock(&h->lock);
  while (h->work)
    pthread_cond_wait(&h->wake, &h->lock);
  pthread_mutex_unlock(&h->lock);
}

struct caller {
  struct share *shares; /* one for each of its sets */
  uint64_t sets;
  int conn;
  pthread_barrier_t *begin, *end;
  int *stop;
};

static void *call_all(void *arg)
{
  struct caller *c = arg;
  for (;;) {
    pthread_barrier_wait(c->begin);
    if (*c->stop)
      return NULL;
    for (uint64_t i = 0; i < c->sets; i++) {
      pthread_mutex_lock(&conn_lock[c->conn]);
      transfer(c->conn, &c->shares[i]);
      pthread_mutex_unlock(&conn_lock[c->conn]);
    }
    pthread_barrier_wait(c->end);
  }
}

static double seconds_of[MAX_REPS];

static void answer_run(uint64_t reps, uint64_t warm, uint64_t bytes, double cpu)
{
  printf("{\"bytes\": %llu, \"warm\": %llu, \"cpu\": %.6f, \"seconds\": [", (unsigned long long)bytes,
         (unsigned long long)warm, cpu);
  for (uint64_t i = 0; i < reps; i++)
    printf("%s%.9f", i ? ", " : "", seconds_of[i]);
  printf("]}\n");
}

static void run_threads(const struct plan *p, int op, double limit)
{
  uint64_t each = p->sets / p->threads, reps = 0;
  int stop = 0;
  pthread_barrier_t begin, end;
  pthread_barrier_init(&begin, NULL, (unsigned)p->threads + 1);
  pthread_barrier_init(&end, NULL, (unsigned)p->threads + 1);
  struct share *shares = malloc(p->sets * sizeof *shares);
  if (!shares)
    die("malloc");
  for (uint64_t i = 0; i < p->sets; i++)
    shares[i] = make_share(p, op, i, 0, p->blocks * p->size);
  struct caller callers[MAX_THREADS];
  pthread_t threads[MAX_THREADS];
  for (uint64_t i = 0; i < p->threads; i++) {
    callers[i] = (struct caller){shares + i * each, each, (int)(i % (uint64_t)conn_count), &begin, &end, &stop};
    if (pthread_create(&threads[i], NULL, call_all, &callers[i]) != 0)
      die("pthread_create");
  }
  double cpu = cpu_seconds(), first = 0;
  for (int warm = 1; warm || (reps < MAX_REPS && (reps < 3 || now() - first < limit)); warm = 0) {
    double t = now();
    if (!first && !warm)
      first = t;
    pthread_barrier_wait(&begin);
    pthread_barrier_wait(&end);
    if (!warm)
      seconds_of[reps++] = now() - t;
  }
  cpu = cpu_seconds() - cpu;
  stop = 1;
  pthread_barrier_wait(&begin);
  for (uint64_t i = 0; i < p->threads; i++)
    pthread_join(threads[i], NULL);
  answer_run(reps, 1, p->sets * p->blocks * p->size, cpu);
}

static void run_one_caller(const struct plan *p, int op, double limit)
{
  uint64_t total = p->blocks * p->size, reps = 0;
  int lanes = total >= SPLIT_FROM ? conn_count : 1;
  struct share *shares = malloc(p->sets * (uint64_t)lanes * sizeof *shares);
  struct helper helpers[MAX_CONNS];
  if (!shares)
    die("malloc");
  for (uint64_t set = 0; set < p->sets; set++)
    for (int l = 0; l < lanes; l++)
      shares[set * (uint64_t)lanes + (uint64_t)l] =
          make_share(p, op, set, total * (uint64_t)l / (uint64_t)lanes, total * ((uint64_t)l + 1) / (uint64_t)lanes);
  for (int l = 1; l < lanes; l++) {
    helpers[l] = (struct helper){.conn = l};
    pthread_mutex_init(&helpers[l].lock, NULL);
    pthread_cond_init(&helpers[l].wake, NULL);
    if (pthread_create(&helpers[l].thread, NULL, help, &helpers[l]) != 0)
      die("pthread_create");
  }
  double cpu = cpu_seconds(), first = 0;
  for (uint64_t i = 0; reps < MAX_REPS && (i < 2 * p->sets || now() - first < limit); i++) {
    struct share *s = shares + i % p->sets * (uint64_t)lanes;
    double t = now();
    for (int l = 1; l < lanes; l++)
      give(&helpers[l], &s[l]);
    transfer(0, &s[0]);
    for (int l = 1; l < lanes; l++)
      join_work(&helpers[l]);
    if (i >= p->sets) { /* the first round warms up */
      if (!first)
        first = t;
      seconds_of[reps++] = now() - t;
    }
  }
  cpu = cpu_seconds() - cpu;
  for (int l = 1; l < lanes; l++) {
    pthread_mutex_lock(&helpers[l].lock);
    helpers[l].quit = 1;
    pthread_cond_broadcast(&helpers[l].wake);
    pthread_mutex_unlock(&helpers[l].lock);
    pthread_join(helpers[l].thread, NULL);
  }
  answer_run(reps, p->sets, total, cpu);
}

static void run_memcpy(double limit)
{
  uint64_t reps = 0;
  double cpu = cpu_seconds(), first = now();
  while (reps < 3 || (reps < MAX_REPS && now() - first < limit)) {
    double t = now();
    memcpy(sink, source, pool_bytes);
    __asm__ volatile("" : : "r"(sink) : "memory");
    seconds_of[reps++] = now() - t;
  }
  answer_run(reps, 0, pool_bytes, cpu_seconds() - cpu);
}

/* ---- commands ---------------------------------------------------------------------------------------------------- */

static void check(const struct plan *p, int local)
{
  uint64_t bad = 0, bytes = 0;
  for (uint64_t set = 0; set < p->sets; set++) {
    const uint64_t *to = local ? local_offsets(p, set) : remote_offsets(p, set);
    const uint64_t *from = local ? remote_offsets(p, set) : local_offsets(p, set);
    for (uint64_t i = 0; i < p->blocks; i++) {
      bad += memcmp(sink + to[i], source + from[i], p->size) != 0;
      bytes += p->size;
    }
  }
  printf("{\"bad\": %llu, \"verified\": %llu}\n", (unsigned long long)bad, (unsigned long long)bytes);
}

static void dial(int port, int n)
{
  for (int i = 0; i < n && i < MAX_CONNS; i++) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    conns[i] = socket(AF_INET, SOCK_STREAM, 0);
    if (conns[i] < 0 || connect(conns[i], (struct sockaddr *)&a, sizeof a) != 0)
      die("connect");
    no_delay(conns[i]);
    pthread_mutex_init(&conn_lock[i], NULL);
    conn_count = i + 1;
  }
  printf("{}\n");
}

int main(int argc, char **argv)
{
  if (argc != 2 || (pool_bytes = strtoull(argv[1], NULL, 10)) == 0) {
    fprintf(stderr, "usage: plain_c POOL_BYTES\n");
    return 2;
  }
  source = pages(pool_bytes);
  sink = pages(pool_bytes);
  for (uint64_t i = 0; i < pool_bytes / 8; i++)
    ((uint64_t *)source)[i] = (i + 1) * 0x9E3779B97F4A7C15u;
  memset(sink, 0xA5, pool_bytes);
  printf("{\"address\": \"%d\"}\n", listen_anywhere());
  fflush(stdout);
  char line[PATH_MAX + 64], path[PATH_MAX], word[16];
  int port, n;
  double limit;
  while (fgets(line, sizeof line, stdin)) {
    if (sscanf(line, "connect %d %d", &port, &n) == 2) {
      dial(port, n);
    } else if (strncmp(line, "wipe", 4) == 0) {
      memset(sink, 0xA5, pool_bytes);
      printf("{}\n");
    } else if (strncmp(line, "cpu", 3) == 0) {
      printf("{\"cpu\": %.6f}\n", cpu_seconds());
    } else if (sscanf(line, "memcpy %lf", &limit) == 1) {
      run_memcpy(limit);
    } else if (sscanf(line, "check %15s %4095s", word, path) == 2) {
      struct plan p = load_plan(path);
      check(&p, strcmp(word, "local") == 0);
    } else if (sscanf(line, "run %15s %lf %4095s", word, &limit, path) == 3) {
      struct plan p = load_plan(path);
      int op = strcmp(word, "read") == 0 ? OP_READ : OP_WRITE;
      if (p.threads > MAX_THREADS)
        return 2;
      if (p.threads > 1) {
        run_threads(&p, op, limit);
      } else {
        run_one_caller(&p, op, limit);
      }
    } else {
      printf("{\"error\": \"no such command\"}\n");
    }
    fflush(stdout);
  }
  return 0;
}
