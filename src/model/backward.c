/* The backward pass, the mirror of learner_forward.c, from model.h's formulas read upwards. gx is the derivative of the
 * loss by the residual stream; a half of a block adds to it what flows back through its input's norm:
 *
 *   x' = mid + norm(W_down h)      h = f(gate) up      gate, up = W_gate m, W_up m      m = norm(mid)
 *   mid = x + norm(W_o z)          z = attention(q, k, v)                               q, k, v of norm(x)
 *
 * Parallel blocks read x in both halves: then attention sees the gx that came in, not what the MLP added. */
#include "model/learner_int.h"

#include <string.h>

static bool wants(const sd_learner *t, sd_site_kind kind, int l)
{
    return t->hook && t->want[l] >> kind & 1u;
}

static void norm_bwd(const sd_learner *t, sd_mat gx, sd_mat gy, sd_mat x, const sd_lnorm *n, bool replace)
{
    const sd_norm_grad a = {.gx = gx,
                            .gy = gy,
                            .x = x,
                            .g = n->g,
                            .gg = n->gg,
                            .gb = n->gb,
                            .stat = t->stat,
                            .eps = t->m->cfg.norm_eps,
                            .replace = replace};
    if (t->m->wire.norm == SD_NORM_LAYER)
        sd_layernorm_bwd(t->ex, &a);
    else
        sd_rmsnorm_bwd(t->ex, &a);
}

static void run(const sd_learner *t, sd_prod p)
{
    p.bf16 = t->bf16;
    sd_prod_run(t->ex, &p, t->scratch);
}

static sd_wmat weights_of(sd_mat x)
{
    return sd_wmat_of(x.data, x.rows, x.cols);
}

/* gB += gy^T low, as (low^T gy)^T: only the narrow matrix is turned for the product, and all its columns are used. */
static void adapter_out_bwd(const sd_learner *t, sd_mat gb, sd_mat low, sd_mat gy, sd_half gy_half)
{
    const sd_mat turned = sd_mat_of(t->turned, gb.cols, gb.rows);
    run(t, (sd_prod){SD_PROD_TN, .c = turned, .a = low, .b = weights_of(gy), .b_half = gy_half});
    for (int64_t o = 0; o < gb.rows; o++)
        for (int64_t i = 0; i < gb.cols; i++) sd_mat_row(gb, o)[i] += sd_mat_row(turned, i)[o];
}

/* Where the derivative of a product's input goes: to a matrix, or part by part to `end`. */
typedef struct flow {
    sd_mat gx;
    bool accumulate;
    sd_lmlp_bwd *end; /* NULL: none */
} flow;

/* y = x W^T + b + s (x A^T) B^T:  gx (+)= gy W + (s gy B) A,  gW += gy^T x,  gb += sum gy,  gB += gy^T (s x A^T),  gA
 * += (s gy B)^T x.  gx first: where it has an end, that gives x. */
static void product_bwd(const sd_learner *t, int l, sd_mat_role role, flow to, sd_linput *gy_once, sd_linput *input)
{
    const sd_lmat *w = &t->block[l].mat[role];
    const sd_lora_mat *a = &w->lora;
    const int64_t in = w->w.cols, out = w->w.rows;
    const sd_mat x = input->x, gy = gy_once->x, gx = to.gx;
    const sd_half gy_half = sd_learner__half(t, gy_once, t->half_g);
    const sd_mat xd = a->rank && w->ga ? sd_learner__dropped(t, l, role, x) : x;
    const bool drops = xd.data != x.data;
    sd_prod p = {SD_PROD_NN, .accumulate = to.accumulate, .c = gx, .a = gy, .b = w->w, .a_half = gy_half};
    if (to.end) p.end = sd_learner__mlp_bwd_part, p.end_arg = to.end;
    if (a->rank) {
        p.a2 = sd_learner__mat(t, t->glow, a->rank), p.b2 = sd_wmat_of(a->a, a->rank, in);
        run(t, (sd_prod){SD_PROD_NN, .c = p.a2, .a = gy, .b = sd_wmat_of(a->b, out, a->rank), .a_half = gy_half});
        sd_scale(t->ex, p.a2, a->scale);
    }
    if (!drops) run(t, p);
    if (w->gw)
        run(t, (sd_prod){SD_PROD_TN, .accumulate = true, .c = sd_mat_of(w->gw, out, in), .a = gy, .b = weights_of(x), .a_half = gy_half,
                         .b_half = sd_learner__half(t, input, t->half_x)});
    if (w->gb) sd_bias_bwd(t->ex, w->gb, gy);
    if (a->rank && w->ga) {
        const sd_half xd_half = drops ? (sd_half){0} : sd_learner__half(t, input, t->half_x);
        adapter_out_bwd(t, sd_mat_of(w->glb, out, a->rank), sd_learner__low(t, l, role), gy, gy_half);
        run(t, (sd_prod){SD_PROD_TN, .accumulate = true, .c = sd_mat_of(w->ga, a->rank, in), .a = p.a2, .b = weights_of(xd), .b_half = xd_half});
    }
    if (!drops) return;
    sd_mat gd = sd_mat_of(t->drop + t->opt.max_rows * sd_learner__widest_input(t), t->rows, in);
    run(t, (sd_prod){SD_PROD_NN, .c = gd, .a = p.a2, .b = p.b2});
    sd_learner__drop(t, l, role, gd, gd);
    p.a2 = (sd_mat){0};
    run(t, p);
    for (int64_t i = 0; i < t->rows * in; i++) gx.data[i] += gd.data[i];
}

static sd_status mlp_bwd(sd_learner *t, int l, sd_mat gx, sd_err *err)
{
    const sd_lblock *b = &t->block[l];
    sd_lact *a = &t->act;
    const bool gated = t->m->wire.gated, normed = b->mlp_norm.g != NULL;
    sd_mat g = sd_learner__mat(t, t->gt, t->d), h = sd_learner__mat(t, a->h, t->ffn),
           gg = sd_learner__mat(t, t->ggate, t->ffn);
    sd_mat gate = sd_learner__mat(t, a->gate, t->ffn), up = gated ? sd_learner__mat(t, a->up, t->ffn) : (sd_mat){0};
    sd_mat gu = gated ? sd_learner__mat(t, t->gup, t->ffn) : (sd_mat){0}, none = {0};
    sd_mat mid = t->m->wire.parallel ? sd_learner__mat(t, sd_learner__x(t, l), t->d) : sd_learner__mat(t, a->mid, t->d);
    const bool changes = b->mlp_post.g || wants(t, SD_SITE_MLP_OUT, l);
    sd_linput h_once = {.x = h};
    sd_status st;
    if (changes) sd_sum(t->ex, g, gx, none);
    if ((st = sd_learner__visit(t, SD_SITE_MLP_OUT, l, none, g, err))) return st;
    if (b->mlp_post.g) norm_bwd(t, g, g, sd_learner__mat(t, a->m_raw, t->d), &b->mlp_post, true);
    sd_linput g_once = {.x = changes ? g : gx}, gg_once = {.x = gg}, gu_once = {.x = gu};
    if (sd_learner__mlp_in_half(t, l)) {
        sd_lmlp_bwd e = sd_learner__mlp_bwd_of(t, l);
        h_once.half = (sd_half){e.h, e.ld}, gg_once.half = (sd_half){e.ggate, e.ld}, gu_once.half = (sd_half){e.gup, e.ld};
        product_bwd(t, l, SD_MAT_DOWN, (flow){.gx = gg, .end = &e}, &g_once, &h_once);
    } else {
        product_bwd(t, l, SD_MAT_DOWN, (flow){.gx = gg}, &g_once, &h_once);
        if ((st = sd_learner__visit(t, SD_SITE_MLP_POST, l, h, gg, err))) return st;
        sd_gate_bwd(t->ex, gg, gu, gg, gate, up, t->m->wire.act);
        if ((st = sd_learner__visit(t, SD_SITE_MLP_PRE, l, gate, gg, err))) return st;
        if (gated && (st = sd_learner__visit(t, SD_SITE_MLP_UP, l, up, gu, err))) return st;
    }
    sd_linput in_once = sd_learner__normed(t, (sd_lnorm_at){l, a->norm2, false}, mid, &b->mlp_norm);
    product_bwd(t, l, SD_MAT_GATE, (flow){.gx = g}, &gg_once, &in_once);
    if (gated) product_bwd(t, l, SD_MAT_UP, (flow){.gx = g, .accumulate = true}, &gu_once, &in_once);
    if ((st = sd_learner__visit(t, SD_SITE_MLP_IN, l, in_once.x, g, err))) return st;
    if (normed) norm_bwd(t, gx, g, mid, &b->mlp_norm, false);
    else sd_add(t->ex, gx, g);
    return SD_OK;
}

static void heads_bwd(const sd_learner *t, float *g, float *raw, int64_t cols, int n_head, const sd_lnorm *n)
{
    sd_mat gy = sd_learner__mat(t, g, cols), x = sd_learner__mat(t, raw, cols);
    if (!n->g) return;
    if (t->m->wire.qk_norm == SD_QK_NORM_HEAD) {
        gy = sd_mat_of(g, t->rows * n_head, cols / n_head);
        x = sd_mat_of(raw, t->rows * n_head, cols / n_head);
    }
    norm_bwd(t, gy, gy, x, n, true);
}

static void attend_bwd(sd_learner *t, int l)
{
    const sd_config *c = &t->m->cfg;
    const sd_attn_grad o = {.n_head = c->n_head,
                            .n_head_kv = c->n_head_kv,
                            .d_head = c->d_head,
                            .scale = c->attn_scale,
                            .softcap = t->m->wire.attn_cap,
                            .window = t->m->block[l].window,
                            .bf16 = t->attn_bf16};
    for (int i = 0; i < t->n_doc; i++) {
        const int64_t r = t->row0[i], n = t->row0[i + 1] - r;
        t->doc[i] = (sd_attn_doc){sd_mat_of(t->act.q + r * t->q, n, t->q),   sd_mat_of(t->act.k + r * t->kv, n, t->kv),
                                  sd_mat_of(t->act.v + r * t->kv, n, t->kv), sd_mat_of(t->gz + r * t->q, n, t->q),
                                  sd_mat_of(t->gq + r * t->q, n, t->q),      sd_mat_of(t->gk + r * t->kv, n, t->kv),
                                  sd_mat_of(t->gv + r * t->kv, n, t->kv)};
    }
    sd_attn_bwd(t->ex, &o, t->doc, t->n_doc, t->scratch);
}

/* g: what flows into attention's output; gx takes what flows out of its input. */
static sd_status attention_bwd(sd_learner *t, int l, sd_mat g, sd_mat gx, sd_err *err)
{
    const sd_config *c = &t->m->cfg;
    const sd_lblock *b = &t->block[l];
    sd_lact *a = &t->act;
    const bool normed = b->attn_norm.g != NULL;
    sd_mat x = sd_learner__mat(t, sd_learner__x(t, l), t->d), none = {0};
    sd_mat gq = sd_learner__mat(t, t->gq, t->q), gk = sd_learner__mat(t, t->gk, t->kv),
           gv = sd_learner__mat(t, t->gv, t->kv), gz = sd_learner__mat(t, t->gz, t->q);
    sd_linput z_once = {.x = sd_learner__mat(t, a->z, t->q)};
    sd_status st = sd_learner__visit(t, SD_SITE_ATTN_OUT, l, none, g, err);
    if (st) return st;
    if (b->attn_post.g) norm_bwd(t, g, g, sd_learner__mat(t, a->a_raw, t->d), &b->attn_post, true);
    product_bwd(t, l, SD_MAT_O, (flow){.gx = gz}, &(sd_linput){.x = g}, &z_once);
    if ((st = sd_learner__visit(t, SD_SITE_ATTN_Z, l, sd_learner__mat(t, a->z, t->q), gz, err))) return st;
    attend_bwd(t, l);
    if ((st = sd_learner__visit(t, SD_SITE_ROT_Q, l, sd_learner__mat(t, a->q, t->q), gq, err))) return st;
    if ((st = sd_learner__visit(t, SD_SITE_ROT_K, l, sd_learner__mat(t, a->k, t->kv), gk, err))) return st;
    if (t->m->wire.n_rope) { /* a rotation's gradient turns back */
        const int r = t->m->block[l].rope, half = c->n_rot / 2;
        sd_rope_apply(t->ex, gq, c->n_head, half, t->cos[r], t->nsin[r]);
        sd_rope_apply(t->ex, gk, c->n_head_kv, half, t->cos[r], t->nsin[r]);
    }
    if ((st = sd_learner__visit(t, SD_SITE_ATTN_Q, l, none, gq, err))) return st;
    if ((st = sd_learner__visit(t, SD_SITE_ATTN_K, l, none, gk, err))) return st;
    if ((st = sd_learner__visit(t, SD_SITE_ATTN_V, l, sd_learner__mat(t, a->v, t->kv), gv, err))) return st;
    heads_bwd(t, t->gq, a->q_raw, t->q, c->n_head, &b->q_norm);
    heads_bwd(t, t->gk, a->k_raw, t->kv, c->n_head_kv, &b->k_norm);
    sd_mat gin = normed ? sd_learner__mat(t, t->gt, t->d) : gx;
    sd_linput in_once = sd_learner__normed(t, (sd_lnorm_at){l, a->norm, false}, x, &b->attn_norm);
    product_bwd(t, l, SD_MAT_Q, (flow){.gx = gin, .accumulate = !normed}, &(sd_linput){.x = gq}, &in_once);
    product_bwd(t, l, SD_MAT_K, (flow){.gx = gin, .accumulate = true}, &(sd_linput){.x = gk}, &in_once);
    product_bwd(t, l, SD_MAT_V, (flow){.gx = gin, .accumulate = true}, &(sd_linput){.x = gv}, &in_once);
    if (normed) norm_bwd(t, gx, gin, x, &b->attn_norm, false);
    return SD_OK;
}

static sd_status block_bwd(sd_learner *t, int l, sd_mat gx, sd_err *err)
{
    const sd_lblock *b = &t->block[l];
    sd_mat g = sd_learner__mat(t, t->out, t->d), x = sd_learner__mat(t, sd_learner__x(t, l), t->d);
    sd_status st =
        sd_learner__visit(t, SD_SITE_RESID_POST, l, sd_learner__mat(t, sd_learner__x(t, l + 1), t->d), gx, err);
    if (st) return st;
    if (b->kept)
        sd_learner__restore(t, l);
    else if ((st = sd_learner__block(t, l, true, err)))
        return st;
    if (t->m->wire.parallel) sd_sum(t->ex, g, gx, (sd_mat){0});
    if ((st = mlp_bwd(t, l, gx, err))) return st;
    if (!t->m->wire.parallel) {
        if ((st = sd_learner__visit(t, SD_SITE_RESID_MID, l, sd_learner__mat(t, t->act.mid, t->d), gx, err))) return st;
        if (b->attn_post.g || wants(t, SD_SITE_ATTN_OUT, l))
            sd_sum(t->ex, g, gx, (sd_mat){0});
        else
            g = gx; /* read before it is added to */
    }
    if ((st = attention_bwd(t, l, g, gx, err))) return st;
    return sd_learner__visit(t, SD_SITE_RESID_PRE, l, x, gx, err);
}

/* Adds the teacher's share to gh, which has been multiplied by row, and to the head's gradient. */
static void soften_bwd(sd_learner *t, const sd_learner_soft *soft)
{
    const sd_mat hn = sd_mat_of(t->hn, t->n_count, t->d);
    SD_ASSERT(soft->teacher.h.rows == t->n_count && soft->teacher.h.cols <= t->opt.teacher_cols);
    const sd_distill x = {.student = {hn, t->head.w, t->m->wire.logit_cap, t->bf16},
                          .teacher = soft->teacher,
                          .temperature = (float)soft->temperature,
                          .weight = (float)soft->weight,
                          .kl = soft->kl,
                          .gh = sd_mat_of(t->gh, t->n_count, t->d),
                          .gw = t->head.gw ? sd_mat_of(t->head.gw, t->head.w.rows, t->d) : (sd_mat){0}};
    sd_distill_run(t->ex, &x, t->scratch);
}

/* From the rows that count to gx of all rows. soft NULL: no teacher. */
static sd_status finish_bwd(sd_learner *t, const float *row, const sd_learner_soft *soft, sd_mat gx, sd_err *err)
{
    sd_mat g = sd_learner__mat(t, t->gt, t->d), last = sd_learner__mat(t, sd_learner__x(t, t->m->cfg.n_layer), t->d);
    if (t->head.gw) {
        const sd_xent x = {.h = sd_mat_of(t->hn, t->n_count, t->d),
                           .w = t->head.w,
                           .target = t->target,
                           .softcap = t->m->wire.logit_cap,
                           .bf16 = t->bf16,
                           .lp = t->lp,
                           .lse = t->lse};
        sd_xent_bwd_w(t->ex, &x, sd_mat_of(t->head.gw, t->head.w.rows, t->d), row, t->scratch);
    }
    memset(g.data, 0, (size_t)(t->rows * t->d) * sizeof(float));
    for (int64_t i = 0; i < t->n_count; i++)
        for (int64_t c = 0; c < t->d; c++) t->gh[i * t->d + c] *= row[i];
    if (soft) soften_bwd(t, soft);
    for (int64_t i = 0; i < t->n_count; i++)
        memcpy(sd_mat_row(g, t->count_row[i]), t->gh + i * t->d, (size_t)t->d * sizeof(float));
    sd_status st = sd_learner__visit(t, SD_SITE_FINAL_NORM, 0, (sd_mat){0}, g, err);
    if (!st) norm_bwd(t, gx, g, last, &t->final_norm, true);
    return st;
}

sd_status sd_learner_backward(sd_learner *t, const float *row, sd_err *err)
{
    return sd_learner_backward_soft(t, row, NULL, err);
}

sd_status sd_learner_backward_soft(sd_learner *t, const float *row, const sd_learner_soft *soft, sd_err *err)
{
    sd_mat gx = sd_learner__mat(t, t->gx, t->d);
    SD_ASSERT(t->remembers);
    sd_status st = finish_bwd(t, row, soft, gx, err);
    for (int l = t->m->cfg.n_layer - 1; !st && l >= 0; l--) st = block_bwd(t, l, gx, err);
    if (!st && t->pos.gw) sd_embed_bwd(t->ex, sd_mat_of(t->pos.gw, t->pos.w.rows, t->d), t->pos_of, gx, 1.0f);
    if (!st) st = sd_learner__visit(t, SD_SITE_EMBED, 0, (sd_mat){0}, gx, err);
    if (!st && t->embed.gw)
        sd_embed_bwd(t->ex, sd_mat_of(t->embed.gw, t->embed.w.rows, t->d), t->tok, gx, t->m->cfg.embed_scale);
    t->remembers = false;
    return st;
}
