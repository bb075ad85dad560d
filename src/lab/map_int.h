/* Shared by the files of the map. */
#ifndef SD_LAB_MAP_INT_H
#define SD_LAB_MAP_INT_H

#include "lab/feature_map.h"

/* Symmetric: row i holds its neighbours ascending, each once, with weights in (0, 1]; clusters rely on it. */
typedef struct sd_map_graph { int64_t n; int64_t *start; int32_t *to; float *w; } sd_map_graph;
void sd_map__graph_release(sd_map_graph *g);
/* index, cosine [n, k], -1 at the end of a short list. */
sd_status sd_map__graph(sd_map_graph *out, const int32_t *index, const float *cosine, int64_t n, int k, sd_err *err);

/* xy [n, 2]. */
sd_status sd_map__layout(float *xy, const sd_map_graph *g, int epochs, uint64_t seed, const sd_progress *progress, sd_err *err);
/* Clusters of the graph, numbered by size; of [n]. Nodes without an edge are clusters of their own. */
sd_status sd_map__clusters(int32_t *of, int64_t *n_cluster, double *modularity, const sd_map_graph *g, sd_err *err);

typedef struct sd_map_quality { int64_t n; double kept, trust; } sd_map_quality;
/* w [n, d] the placed features' directions, near [n, k] theirs. */
sd_status sd_map__check(sd_map_quality *out, const sd_exec *ex, sd_mat w, const float *xy, const int32_t *near, int k, sd_err *err);

#endif
