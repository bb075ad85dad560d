/* Owns the choice between the two trainers: one site written as itself, or one site written as another. */
#include "lab/learn_int.h"

sd_status sd_learn__new(sd_learn_trainer *t, const sd_exec *ex, const sd_dict_train_opt *opt, sd_err *err)
{
    return sd_dict_kind_maps(opt->kind) ? sd_trans_new(&t->trans, ex, opt, err) : sd_dict_train_new(&t->one, ex, opt, err);
}

void sd_learn__free(sd_learn_trainer *t)
{
    sd_dict_train_free(t->one);
    sd_trans_free(t->trans);
    *t = (sd_learn_trainer){0};
}

size_t sd_learn__plan(const sd_exec *ex, const sd_dict_train_opt *opt) { return sd_dict_kind_maps(opt->kind) ? sd_trans_plan(ex, opt) : sd_dict_train_plan(ex, opt); }

const sd_dict_train_opt *sd_learn__opt(const sd_learn_trainer *t) { return t->trans ? sd_trans_get_opt(t->trans) : sd_dict_train_get_opt(t->one); }
double sd_learn__max_norm(const sd_learn_trainer *t) { return t->trans ? sd_trans_max_norm(t->trans) : sd_dict_train_max_norm(t->one); }

sd_status sd_learn__calibrate(sd_learn_trainer *t, const sd_exec *ex, sd_mat x, sd_err *err)
{
    return t->trans ? sd_trans_calibrate(t->trans, ex, x, err) : sd_dict_train_calibrate(t->one, ex, x, err);
}

sd_status sd_learn__step(sd_learn_trainer *t, const sd_exec *ex, sd_mat x, sd_dict_stats *stats, sd_err *err)
{
    return t->trans ? sd_trans_step(t->trans, ex, x, stats, err) : sd_dict_train_step(t->one, ex, x, stats, err);
}

sd_status sd_learn__finish(sd_learn_trainer *t, const sd_exec *ex, sd_mat heldout, const sd_dict_info *meta, sd_dict **out, sd_err *err)
{
    return t->trans ? sd_trans_finish(t->trans, ex, heldout, meta, out, err) : sd_dict_train_finish(t->one, ex, heldout, meta, out, err);
}

int64_t sd_learn__tokens(const sd_learn_trainer *t)
{
    return t->trans ? sd_trans_tokens(t->trans) : sd_dict_train_tokens(t->one);
}

int64_t sd_learn__silent(const sd_learn_trainer *t, int64_t n) { return t->trans ? sd_trans_silent(t->trans, n) : sd_dict_train_silent(t->one, n); }

sd_status sd_learn__save(const sd_learn_trainer *t, const char *path, sd_err *err)
{
    return t->trans ? sd_trans_save(t->trans, path, err) : sd_dict_train_save(t->one, path, err);
}

sd_status sd_learn__load(sd_learn_trainer *t, const sd_exec *ex, sd_dict_kind kind, const char *path, sd_err *err)
{
    return sd_dict_kind_maps(kind) ? sd_trans_load(&t->trans, ex, path, err) : sd_dict_train_load(&t->one, ex, path, err);
}
