/* The inside of an MLP in one pass: tiles of gate and up, their function, and the rounding that the next layer asks for, all
 * in the first two caches. As three steps 2,048 rows of SmolLM2 write and read 25 MB of gate and up a layer. */
#include "num/linear_int.h"
#include "base/par.h"

enum { FEW_ROWS = 16 }; /* below, weights come from memory and are read in one stretch a thread */

bool sd_linear_glu_fits(const sd_linear_glu *g, int64_t n_rows)
{
    if (n_rows <= FEW_ROWS || !sd_linear__is_packed(g->gate) || !g->next->form->prepare_part) return false;
    return !g->up || (g->up->form == g->gate->form && sd_linear__is_packed(g->up));
}

typedef struct glu_job {
    const sd_kern_ops *ops;
    const sd_linear_glu *g;
    sd_linear_job gate, up;
    sd_linear_part to;
} glu_job;

/* Rows [r0, r0 + m) of panel p with their bias. */
static void half(const sd_linear_job *j, int64_t p, int64_t r0, int64_t m, float *tile)
{
    const float *b = j->l->bias ? j->l->bias + p * SD_PANEL : NULL;
    j->l->form->tile(j, sd_linear__panel(j->l, p), r0, m, tile, SD_PANEL);
    for (int64_t i = 0; b && i < m; i++)
        for (int64_t c = 0; c < SD_PANEL; c++) tile[i * SD_PANEL + c] += b[c];
}

static void run_tasks(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const glu_job *j = arg;
    float gate[SD_MOST_TILE * SD_PANEL] __attribute__((aligned(64))), up[SD_MOST_TILE * SD_PANEL] __attribute__((aligned(64)));
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        const sd_linear_place at = sd_linear__place(&j->gate, j->gate.l->n_panel, i);
        sd_linear_part part = j->to;
        const int64_t left = part.x.rows - at.r0, most = j->gate.rows, m = left < most ? left : most;
        half(&j->gate, at.p, at.r0, m, gate);
        if (j->g->up) half(&j->up, at.p, at.r0, m, up);
        if (j->g->up && j->g->f == SD_NONLIN_SILU)
            j->ops->silu_mul(gate, gate, up, m * SD_PANEL);
        else
            j->ops->nonlin(j->g->f, gate, gate, j->g->up ? up : NULL, m * SD_PANEL);
        part.p = at.p, part.r0 = at.r0, part.m = m, part.tile = gate;
        j->g->next->form->prepare_part(j->gate.ex, j->g->next, &part);
    }
}

void sd_linear_run_glu(const sd_exec *ex, const sd_linear_glu *g, sd_mat z, sd_mat x, const void *scratch, void *next_scratch)
{
    const sd_linear_job job = sd_linear__job(ex, g->gate, x, scratch);
    const int64_t n_tasks = job.row_tiles * g->gate->n_panel;
    glu_job j = {.ops = sd_kern_ops_select(ex->cpu.flags), .g = g, .gate = job, .up = job, .to = {.x = z, .scratch = next_scratch}};
    SD_ASSERT(z.rows == x.rows && z.cols == g->gate->rows && z.cols == g->next->cols && x.cols == g->gate->cols);
    SD_ASSERT(!g->up || (g->up->rows == z.cols && g->up->cols == x.cols));
    j.up.l = g->up;
    const int64_t share = n_tasks / (8 * ex->n_threads);
    sd_parallel_for(ex->n_threads, n_tasks, share > 1 ? share : 1, run_tasks, &j);
}
