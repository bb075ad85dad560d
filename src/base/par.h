/* The one way to several threads. Work is cut in chunks of a fixed size that does not depend on the number of threads,
 * and fn sees (chunk index, begin, end): a reduction keeps one partial a chunk and adds them in order, so results
 * are the same bits for any number of threads. Nested calls run serially. */
#ifndef SD_BASE_PAR_H
#define SD_BASE_PAR_H

#include <stdint.h>

typedef void (*sd_par_fn)(void *arg, int64_t chunk, int64_t begin, int64_t end);
void sd_parallel_for(int n_threads, int64_t n, int64_t chunk, sd_par_fn fn, void *arg);
/* The number of this worker inside fn: 0 <= id < n_threads; 0 outside. */
int sd_par_worker(void);
int sd_par_hw_threads(void); /* CPUs this process may use */
/* How many threads a library with OpenMP inside may plan for when this thread calls it. Returns the former number. */
int sd_par_library_threads(int n);

#endif
