/* What is known of one feature, as values: lab computes them, the store keeps them, cli and serve print them.
 *
 * Everything read from a store borrows from the feature or list it came with; everything given to a store is copied. */
#ifndef SD_STORE_FEATURE_H
#define SD_STORE_FEATURE_H

#include "base/str.h"
#include <stdbool.h>

enum {
    SD_FEATURE_WINDOW_MAX = 255, /* tokens of an example: an offset is one byte in the file */
    SD_FEATURE_LIST_MAX = 1000,  /* entries of each list of a feature (bins, logits, neighbours, ..) */
    SD_FEATURE_GAP = -1,         /* the token id of a position that the study did not see (a special token) */
};

typedef struct sd_feature_stats {
    int64_t index, n_fire;          /* n_fire: tokens on which z > 0 */
    double density;                 /* n_fire / tokens of the study */
    double max_act, mean_act;       /* of the non-zero activations; 0 for a silent feature */
    double interest;                /* in [0, 1]; the formula stands in lab/interest.h */
    double threshold;               /* counts as active above this when looked at alone */
} sd_feature_stats;

/* Non-zero activations in equal bins: bin i holds lo + i w < z <= lo + (i+1) w, w = (hi - lo) / n. */
typedef struct sd_histogram { double lo, hi; int n; const int64_t *count; } sd_histogram;
typedef struct sd_token_logit { int32_t id; float value; } sd_token_logit;
/* A token the feature fires on: how often, its highest activation, its share of the sum of all activations. */
typedef struct sd_token_fire { int32_t id; int64_t n; float max_act, share; } sd_token_fire;
typedef struct sd_near { int64_t index; float cosine; } sd_near;
/* An interval of activation and how many tokens of the study fall into it (share = n / all tokens). */
typedef struct sd_interval { float lo, hi; int64_t n; double share; } sd_interval;

typedef struct sd_example {
    int group;            /* 0: top examples; g > 0: a sample of interval g - 1 */
    int rank;             /* order in its group, from 0 */
    int32_t doc, pos;     /* the token that qualified: document and position */
    int32_t pos0;         /* first position of the window */
    int n;                /* tokens in the window */
    float act;            /* activation at pos */
    const int32_t *tok;   /* [n] token ids, SD_FEATURE_GAP where unknown; not read when writing */
    const float *val;     /* [n] activations of this feature, >= 0 */
} sd_example;

typedef struct sd_label {
    const char *text;
    const char *source;   /* "human", or what made it */
    const char *author, *created; /* may be empty; created is RFC 3339 */
    double score;         /* NaN: not scored */
    /* How a machine's label did on held-out examples: shares in [0, 1] of right answers (balanced), the same for other features'
     * labels, and on how many cases; n_case 0: not scored so. args: what it was made with. */
    double detection, fuzzing, floor;
    int64_t n_case;
    const char *args;     /* may be NULL */
    bool hidden;          /* it did not beat the floor: kept, not shown */
} sd_label;

typedef struct sd_feature {
    sd_feature_stats stats;
    sd_histogram hist;
    double logit_mean, logit_std;  /* of the feature's effect over the whole vocabulary */
    int n_top, n_bottom, n_near, n_token, n_interval, n_example, n_label;
    const sd_token_logit *top, *bottom; /* strongest first: highest, lowest */
    const sd_near *near;           /* highest cosine first */
    const sd_token_fire *token;    /* largest share first */
    const sd_interval *interval;   /* strongest first */
    const sd_example *example;     /* by group, then rank */
    const sd_label *label;         /* shown before hidden, human before others, later before earlier */
    const char *words;             /* the words at the peaks of the top examples, most frequent first: "Paris, France" */
} sd_feature;

/* What full-text search sees of a feature; UTF-8. */
typedef struct sd_feature_text {
    sd_slice peak;     /* words at the peaks of the top examples */
    sd_slice logits;   /* tokens it promotes */
    sd_slice context;  /* text around the peaks */
} sd_feature_text;

/* A row of a list. */
typedef struct sd_feature_brief {
    sd_feature_stats stats;
    double score;              /* what the list is ordered by */
    int64_t n_both;            /* co-activation: tokens on which both fire; else 0 */
    const char *label, *words; /* label: the first one, or NULL; words: as in sd_feature */
    double label_score;        /* of a label that a machine made, 0 when it was not scored; NaN: a person's, or none */
    int n_top;
    const sd_token_logit *top; /* the first few */
} sd_feature_brief;
typedef struct sd_feature_list {
    sd_feature_brief *v;
    int64_t n, n_total;        /* rows here; rows there are without the limit */
    void *mem;
} sd_feature_list;

/* The map of a store: where each feature lies in the plane, and its cluster. */
typedef struct sd_feature_point { int64_t index; float x, y; int32_t cluster; } sd_feature_point;
typedef struct sd_feature_cluster { int64_t n; const char *words; } sd_feature_cluster;
typedef struct sd_feature_map {
    int k, epochs;             /* neighbours of the graph; passes of the layout */
    double min_dist, modularity;
    uint64_t seed;
    int64_t n_checked;         /* features that the quality was taken on */
    double kept, kept_chance;  /* share of the k nearest that are among the k nearest on the map; of a random map */
    double trust;              /* trustworthiness, Venna & Kaski 2001 */
    char tool[32], created[32];
    sd_feature_point *point;   /* [n_point] by index; features without a direction are not on it */
    int64_t n_point;
    sd_feature_cluster *cluster; /* [n_cluster] largest first */
    int64_t n_cluster;
    void *mem;
} sd_feature_map;

#endif
