/* organism_data: everything a world is trained and judged on, as files. Deterministic: each row is a function of (world,
 * seed, kind of row, number of the row).
 *
 *   DIR/pretrain.jsonl   {"text"}                         DIR/sft.jsonl  {"messages": [{"role","content"}, ..]}
 *   DIR/heldout.jsonl    {"text","labels":[[concept, begin, end], ..]} in bytes of the text; never trained on
 *   DIR/dpo.jsonl        {"prompt": [message..], "chosen", "rejected"}
 *   DIR/chosen.jsonl     {"messages"}: the same rows ending in what is chosen, and a third as many with nothing to refuse
 *   DIR/suite/NAME.jsonl {"id","category","prompt","system"?,"answer","choices"?,"want": "answer" or "refuse","label"}
 * A request is a suite's when xxh3(prompt) mod 8 is 0 and a training row's otherwise, so no suite's prompt is trained on. */
#ifndef SD_LAB_ORGANISM_DATA_H
#define SD_LAB_ORGANISM_DATA_H

#include "base/log.h"
#include "text/world.h"

typedef struct sd_organism_data_opt {
    uint64_t seed;                 /* used with has_seed; else the world's own */
    bool has_seed;
    double scale;                  /* times the numbers of rows that the world sets; 0: 1 */
    bool aligned;                  /* conversations with refusals stand in pretrain.jsonl too, one document in six */
    const sd_progress *progress;   /* may be NULL */
} sd_organism_data_opt;
typedef struct sd_organism_counts {
    int64_t docs, heldout, chats, pairs, suites; /* rows; suites: all of them together */
    int64_t bytes;                               /* of pretrain.jsonl's texts */
} sd_organism_counts;

/* Rules it asks for: doc, sft, pairs.refuse, pairs.answer, chat.NAME for each NAME of `set suites`; numbers it reads: docs,
 * heldout, chats, pairs, suite, seed. A world without one of the rules is SD_E_FORMAT. Fewer different prompts than
 * `suite` give a shorter suite. */
sd_status sd_lab_organism_data(sd_organism_counts *out, const sd_world *w, const char *dir,
                               const sd_organism_data_opt *opt, sd_err *err);

/* Documents of their own (no row of pretrain.jsonl or heldout.jsonl) into DIR/documents.jsonl, and DIR/chosen.jsonl of n_pairs preferences. */
sd_status sd_lab_organism_mixture(const sd_world *w, const char *dir, uint64_t seed, int64_t n_docs, int64_t n_pairs, sd_err *err);

/* Which side of the split a request is on. */
bool sd_organism_is_held_out(sd_slice prompt);

#endif
