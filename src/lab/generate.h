/* generate: prompts to text, plain, steered, or both side by side as one batch over one read of the weights. */
#ifndef SD_LAB_GENERATE_H
#define SD_LAB_GENERATE_H

#include "base/log.h"
#include "lab/steer.h"
#include "model/sample.h"

typedef struct sd_generate_opt {
    int64_t n_gen;              /* tokens at most; 0: 64 */
    sd_sample_opt sample;
    uint64_t seed;
    sd_steer *const *steer;     /* [n_steer], edits of the steered lane, borrowed */
    int n_steer;
    bool compare;               /* run the plain lane beside the steered one */
    /* Called for each new token of a lane (0 plain, 1 steered), may be NULL. */
    void (*on_token)(void *self, int lane, int32_t id);
    void *self;
    const sd_progress *progress; /* may be NULL */
} sd_generate_opt;

typedef struct sd_lane { sd_ids ids; bool ran, stopped, full; } sd_lane; /* generated ids; stopped: by a token that ends a text; full: by length */
typedef struct sd_generate_result {
    sd_lane lane[2];            /* plain, steered; without steers only plain ran, without compare only one */
    int64_t n_prompt;
    double prefill_s, decode_s, first_token_s;
    int64_t n_decoded;          /* tokens of all lanes after the first ones */
} sd_generate_result;
void sd_generate_release(sd_generate_result *r);

/* Both lanes draw from the same random stream by position. Stops a lane at EOS or a control token that ends a turn. */
sd_status sd_lab_generate(sd_generate_result *out, const sd_exec *ex, const sd_model *m, const int32_t *prompt, int64_t n,
                          const sd_generate_opt *opt, sd_err *err);

/* The prompt's ids: text as it is, or as the user's turn of the model's chat template, in which the text of a control token is text (text/chat_ids.h) or is read as the token. */
typedef enum sd_prompt_as { SD_PROMPT_TEXT, SD_PROMPT_CHAT, SD_PROMPT_CHAT_PARSED } sd_prompt_as;
sd_status sd_lab_prompt_ids(sd_ids *out, const sd_model *m, sd_slice text, sd_slice system, sd_prompt_as as, sd_err *err);

#endif
