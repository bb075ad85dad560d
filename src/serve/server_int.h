/* What the files of the server share: the server itself, what is registered, the table of routes. */
#ifndef SD_SERVE_SERVER_INT_H
#define SD_SERVE_SERVER_INT_H

#include "serve/engine.h"
#include "serve/request.h"
#include "serve/serve.h"
#include "store/store.h"

struct MHD_Daemon;
struct sd_crowd;

typedef struct sd_reg_dict { char name[65]; const char *path; sd_dict *dict; sd_site site; bool has_site; } sd_reg_dict; /* no site: a crosscoder, or it does not say */
/* A handle serves one thread at a time. What counts over the whole store (searches, co-activation) takes seconds where there are a million features,
 * and has a handle of its own, opened when it is first wanted, so that a feature is answered meanwhile. Of both locks search_lock comes first. */
typedef struct sd_reg_store { char name[65]; const char *path; sd_store *store, *search; pthread_mutex_t lock, search_lock; } sd_reg_store;
typedef struct sd_reg_recipe { char name[65]; char description[256]; json_t *steer; } sd_reg_recipe;
typedef struct sd_reg_monitor { char name[65]; char description[256]; json_t *when; } sd_reg_monitor;

struct sd_server {
    sd_serve_opt opt;
    sd_metrics *metrics;
    sd_engine *engine;      /* NULL without a model */
    struct sd_reference *reference; /* units of plain vectors; NULL without a model */
    sd_reg_dict *dict;
    sd_reg_store *store;
    sd_reg_recipe *recipe;
    sd_reg_monitor *monitor;
    int n_dict, n_store, n_recipe, n_monitor;
    sd_buf keys;            /* the key file */
    bool loopback;
    int port;
    struct MHD_Daemon *daemon;
    struct sd_crowd *crowd; /* who holds a connection */
    atomic_bool stopping, loading;
    atomic_int n_open;      /* exchanges that are not over */
    atomic_uint_fast64_t next_id;
    uint64_t salt;          /* of ids and of seeds that were not given */
    int64_t started;        /* seconds since 1970 */
};

/* registry.c */
/* The last part of a path, without slashes at its end and without suffix; in path. */
sd_slice sd_serve__base_name(const char *path, const char *suffix);
sd_status sd_registry__open(sd_server *s, sd_err *err);
void sd_registry__close(sd_server *s);
sd_reg_dict *sd_registry__dict(const sd_server *s, const char *name);       /* NULL when unknown */
/* By its own name, or that of the dictionary it is of. */
sd_reg_store *sd_registry__store(const sd_server *s, const char *name);
/* What went wrong as one may know who is not at this machine: the files that were named at start by their names alone. */
void sd_registry__hide_folders(const sd_server *s, sd_err *e);
bool sd_registry__same_model(const sd_server *s, const char *sha256); /* empty: it does not say, and may be */
/* Locks the handle for searches and gives it; what it does stops when rq's client has gone. After it, and after an error, searched. */
sd_status sd_registry__search(sd_store **out, sd_reg_store *r, const sd_request *rq, sd_err *err);
void sd_registry__searched(sd_reg_store *r);
sd_reg_recipe *sd_registry__recipe(const sd_server *s, const char *name);
/* The checked name and the description of the recipe or monitor j, read from path. */
sd_status sd_registry__name(char name[65], char description[256], const json_t *j, const char *path, sd_err *err);
/* monitor.c */
sd_reg_monitor *sd_registry__monitor(const sd_server *s, const char *name);
sd_status sd_monitor__open(sd_server *s, const char *path, sd_err *err);
/* A steer whose `when` names a monitor: *out is the caller's copy with what the monitor looks at in its place. NULL, and name empty: it names none. */
int sd_monitor__name(json_t **out, char name[65], const sd_server *s, const json_t *spec, const char *param, sd_problem *p);

/* Steers of one sequence: specs from arrays of JSON objects, dictionaries by their registered names. */
/* afresh: see sd_seq; looking: what is added now only looks. */
typedef struct sd_edits { sd_steer_spec *spec; sd_steer **steer; int n; uint64_t key; bool afresh, looking; } sd_edits;
/* where: of the array, for the problem's param. n_prompt 0: only looked at. */
int sd_edits__add(sd_edits *e, const sd_server *s, const json_t *array, const char *where, sd_problem *p);
/* Into an empty e: the same for another sequence of a request. Directions are read, and refusal directions looked for, once a request. */
int sd_edits__again(sd_edits *e, const sd_server *s, const sd_edits *of, const char *where, sd_problem *p);
/* Monitors that look at the sequence and edit nothing; names: an array of their names, or NULL. */
int sd_edits__watch(sd_edits *e, const sd_server *s, const json_t *names, const char *where, sd_problem *p);
/* The key for the prefix cache: what is done, and at which positions of a prompt of n_prompt tokens. */
void sd_edits__set_key(sd_edits *e, int64_t n_prompt);
void sd_edits__release(sd_edits *e);
void sd_edits__write(sd_jw *w, const sd_edits *e); /* "applied": [..], and of what only looked "monitors": [..] */
void sd_monitor__write(sd_jw *w, const sd_edits *e);

/* page_api.c: is every audit's name its own? */
sd_status sd_audits__check(const sd_server *s, sd_err *err);

/* routes.c */
typedef int sd_handler(sd_server *s, const sd_request *rq, sd_reply *rp, sd_problem *p); /* 0, or the HTTP status of the problem */
enum { SD_ROUTE_MODEL = 1, SD_ROUTE_OPEN = 2, SD_ROUTE_REST = 4 }; /* needs a model; needs no key; its last {..} may hold slashes */
typedef struct sd_route {
    const char *method, *path;
    sd_handler *fn;
    unsigned flags;
    const sd_field *body;    /* NULL: none */
    const char *brief;
} sd_route;
const sd_route *sd_route__at(int i); /* NULL after the last */
/* NULL with *allow naming the methods of the path ("" when there is no such path). arg: see sd_request. */
const sd_route *sd_route__find(const char *method, const char *path, char arg[SD_ROUTE_ARGS][256], char allow[64]);
/* Finds the route and runs its handler: what http.c does with a request that passed its checks. */
int sd_route__run(sd_server *s, const sd_route *r, const sd_request *rq, sd_reply *rp, sd_problem *p);
void sd_openapi__write(sd_buf *out);

/* handlers */
#define SD_HANDLERS(XX)                                                                                                                   \
    XX(chat) XX(completions) XX(models) XX(model) XX(embeddings) XX(health) XX(metrics) XX(tokenize) XX(detokenize) XX(apply_template)    \
    XX(openapi) XX(config) XX(activations) XX(features) XX(feature) XX(near) XX(np_feature) XX(np_activation) XX(np_search_all)            \
    XX(np_search_topk) XX(np_explanations) XX(np_steer) XX(np_steer_chat) XX(page) XX(page_file) XX(map)                  \
    XX(label) XX(briefs) XX(lens) XX(measure) XX(steer) XX(patch) XX(contrast) XX(runs) XX(run) XX(audits) XX(audit)
#define XX(name) sd_handler sd_handle__##name;
SD_HANDLERS(XX)
#undef XX
extern const sd_field sd_body_chat[], sd_body_completions[], sd_body_embeddings[], sd_body_tokenize[], sd_body_detokenize[],
    sd_body_apply_template[], sd_body_activations[], sd_body_np_activation[], sd_body_np_search_all[], sd_body_np_search_topk[],
    sd_body_np_explanations[], sd_body_np_steer[], sd_body_np_steer_chat[], sd_body_label[], sd_body_lens[], sd_body_measure[], sd_body_steer[], sd_body_patch[], sd_body_contrast[];

/* Parses a body and checks it. *out is the caller's. */
int sd_body__parse(json_t **out, sd_slice body, const sd_field *table, sd_reply *rp, sd_problem *p);
/* Ids of a prompt: a string, or an array of ids. */
int sd_body__ids(sd_ids *ids, const sd_server *s, const json_t *v, const char *param, sd_problem *p);
/* The ids of a chat; a last message of the assistant is gone on with. Control tokens' texts in messages are text unless parse_special (text/chat_ids.h). */
int sd_body__chat_ids(sd_ids *ids, const sd_server *s, const json_t *messages, bool parse_special, const char *param, sd_problem *p);
/* The same as text, in which nobody sees who wrote a mark. */
int sd_body__chat_text(sd_buf *out, const sd_server *s, const json_t *messages, bool open, const char *param, sd_problem *p);
/* A prompt of n tokens fits into a slot, with a token after it if it says something; else the problem has the word that clients look for which shorten their
 * prompts. To be asked before a prompt is copied. */
int sd_body__fits(const sd_server *s, int64_t n, bool says, const char *param, sd_problem *p);
/* Hands a job to the engine; 429 when its queue is full. After a problem it was not taken. */
int sd_job__submit(sd_server *s, sd_job *j, sd_problem *p);
/* The same, and runs it to its end while the client is there. */
int sd_job__run(sd_server *s, sd_job *j, const sd_request *rq, sd_problem *p);
/* A copy of text, or of the sequence that failed. */
int sd_job__problem(const sd_job *j, sd_problem *p);

#endif
