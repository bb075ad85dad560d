/* Owns: the counters. One lock: a few additions a token are nothing beside a step. */
#include "serve/metrics.h"

#include <inttypes.h>
#include <pthread.h>
#include <sys/resource.h>

enum { N_BUCKET = 14, MAX_ROUTES = 256 };
/* Upper bounds in seconds: a token of a small model to a long prompt of a large one. */
static const double bound[N_BUCKET] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60};

typedef struct hist { uint64_t bucket[N_BUCKET + 1]; double sum; } hist;
typedef struct answers { const char *route, *method; int code; uint64_t n; } answers;

typedef struct monitor { const char *name; uint64_t n[3]; } monitor;

struct sd_metrics {
    pthread_mutex_t lock;
    uint64_t count[SD_COUNTER_COUNT];
    hist h[SD_HIST_COUNT];
    answers route[MAX_ROUTES];
    int n_route;
    monitor *monitor; /* [n_monitor] */
    int n_monitor;
};

sd_status sd_metrics_new(sd_metrics **out, sd_err *err)
{
    sd_status st = sd_alloc_zero(out, sizeof **out, "metrics", err);
    if (!st) pthread_mutex_init(&(*out)->lock, NULL);
    return st;
}

void sd_metrics_free(sd_metrics *m)
{
    if (!m) return;
    pthread_mutex_destroy(&m->lock);
    sd_free(m->monitor);
    sd_free(m);
}

void sd_metrics_add(sd_metrics *m, sd_counter c, uint64_t n)
{
    if (!m) return;
    pthread_mutex_lock(&m->lock);
    m->count[c] += n;
    pthread_mutex_unlock(&m->lock);
}

void sd_metrics_observe(sd_metrics *m, sd_hist h, double seconds)
{
    int b = 0;
    if (!m) return;
    while (b < N_BUCKET && seconds > bound[b]) b++;
    pthread_mutex_lock(&m->lock);
    m->h[h].bucket[b]++;
    m->h[h].sum += seconds;
    pthread_mutex_unlock(&m->lock);
}

void sd_metrics_answer(sd_metrics *m, const char *route, const char *method, int code)
{
    int i = 0;
    if (!m) return;
    pthread_mutex_lock(&m->lock);
    while (i < m->n_route && !(m->route[i].code == code && strcmp(m->route[i].route, route) == 0 && strcmp(m->route[i].method, method) == 0)) i++;
    if (i == m->n_route && i < MAX_ROUTES) m->route[m->n_route++] = (answers){.route = route, .method = method, .code = code};
    if (i < m->n_route) m->route[i].n++;
    pthread_mutex_unlock(&m->lock);
}

sd_status sd_metrics_monitor_add(sd_metrics *m, const char *name, sd_err *err)
{
    pthread_mutex_lock(&m->lock);
    monitor *v = sd_realloc(m->monitor, (size_t)(m->n_monitor + 1) * sizeof *v);
    if (v) {
        m->monitor = v;
        v[m->n_monitor++] = (monitor){.name = name};
    }
    pthread_mutex_unlock(&m->lock);
    return v ? SD_OK : sd_fail(err, SD_E_NOMEM, "out of memory: the metrics of a monitor");
}

void sd_metrics_monitor(sd_metrics *m, const char *name, int64_t n_looked, int64_t n_held)
{
    if (!m) return;
    pthread_mutex_lock(&m->lock);
    for (int i = 0; i < m->n_monitor; i++) {
        uint64_t *n = m->monitor[i].n;
        if (strcmp(m->monitor[i].name, name) != 0) continue;
        n[0] += (uint64_t)n_looked;
        n[1] += (uint64_t)n_held;
        n[2] += n_held > 0;
    }
    pthread_mutex_unlock(&m->lock);
}

static void head(sd_buf *b, const char *name, const char *type, const char *help)
{
    sd_buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_f64(sd_buf *b, double v)
{
    char num[SD_FMT_MAX];
    sd_buf_puts(b, sd_fmt_f64(num, v));
}

static void gauge(sd_buf *b, const char *name, const char *help, double v)
{
    head(b, name, "gauge", help);
    sd_buf_printf(b, "%s ", name);
    put_f64(b, v);
    sd_buf_putc(b, '\n');
}

static void put_hist(sd_buf *b, const char *name, const char *help, const hist *h)
{
    uint64_t sum = 0;
    head(b, name, "histogram", help);
    for (int i = 0; i <= N_BUCKET; i++) {
        sum += h->bucket[i];
        sd_buf_printf(b, "%s_bucket{le=\"", name);
        if (i < N_BUCKET) put_f64(b, bound[i]);
        else sd_buf_puts(b, "+Inf");
        sd_buf_printf(b, "\"} %" PRIu64 "\n", sum);
    }
    sd_buf_printf(b, "%s_sum ", name);
    put_f64(b, h->sum);
    sd_buf_printf(b, "\n%s_count %" PRIu64 "\n", name, sum);
}

static void put_process(sd_buf *b, double start)
{
    struct rusage u;
    sd_mem_info mem = sd_mem_query();
    getrusage(RUSAGE_SELF, &u);
    double cpu = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
    head(b, "process_cpu_seconds_total", "counter", "Processor time of this process");
    sd_buf_puts(b, "process_cpu_seconds_total ");
    put_f64(b, cpu);
    sd_buf_putc(b, '\n');
    gauge(b, "process_resident_memory_bytes", "Resident memory of this process", (double)mem.rss);
    gauge(b, "process_start_time_seconds", "Start of this process, seconds since 1970", start);
}

static void put_monitors(sd_buf *b, const sd_metrics *m)
{
    static const char *const name[] = {"sonde_monitor_evaluations_total", "sonde_monitor_trips_total", "sonde_monitor_tripped_sequences_total"};
    static const char *const help[] = {"Tokens at which a monitor looked", "Tokens at which it held, within the bounds of their request", "Sequences in which it held at some token"};
    for (int k = 0; k < 3 && m->n_monitor; k++) {
        head(b, name[k], "counter", help[k]);
        for (int i = 0; i < m->n_monitor; i++) sd_buf_printf(b, "%s{monitor=\"%s\"} %" PRIu64 "\n", name[k], m->monitor[i].name, m->monitor[i].n[k]);
    }
}

void sd_metrics_write(sd_metrics *m, const sd_gauges *g, sd_buf *b)
{
    static const char *const name[] = {
#define XX(id, name, help) name,
        SD_COUNTER_MAP(XX)};
    static const char *const hist_name[] = {SD_HIST_MAP(XX)};
#undef XX
#define XX(id, name, help) help,
    static const char *const help[] = {SD_COUNTER_MAP(XX)};
    static const char *const hist_help[] = {SD_HIST_MAP(XX)};
#undef XX
    head(b, "sonde_build_info", "gauge", "Version and architecture of the model");
    sd_buf_printf(b, "sonde_build_info{version=\"%s\",arch=\"%s\"} 1\n", g->version, g->arch);
    pthread_mutex_lock(&m->lock);
    head(b, "sonde_http_requests_total", "counter", "Answers by route, method and status");
    for (int i = 0; i < m->n_route; i++)
        sd_buf_printf(b, "sonde_http_requests_total{route=\"%s\",method=\"%s\",code=\"%d\"} %" PRIu64 "\n", m->route[i].route, m->route[i].method,
                      m->route[i].code, m->route[i].n);
    for (int i = 0; i < SD_COUNTER_COUNT; i++) {
        head(b, name[i], "counter", help[i]);
        sd_buf_printf(b, "%s %" PRIu64 "\n", name[i], m->count[i]);
    }
    put_monitors(b, m);
    for (int i = 0; i < SD_HIST_COUNT; i++) put_hist(b, hist_name[i], hist_help[i], &m->h[i]);
    pthread_mutex_unlock(&m->lock);
    gauge(b, "sonde_sequences_running", "Sequences that have a slot", g->running);
    gauge(b, "sonde_queue_depth", "Sequences that wait for a slot", g->waiting);
    gauge(b, "sonde_slots_used_ratio", "Share of the slots that are taken", g->slots ? (double)g->running / g->slots : 0);
    put_process(b, g->start_seconds);
}
