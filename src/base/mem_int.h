/* How base lets a library's own requests for memory take part in the hook, the guard and the count of mem.h.
 * The memory itself stays the C library's, so that it may be freed by either side. Inside base only. */
#ifndef SD_BASE_MEM_INT_H
#define SD_BASE_MEM_INT_H

#include <stddef.h>

void *sd_mem__foreign_malloc(size_t n);
/* As above, but the hook is not asked: for a library that cannot bear a refusal. */
void *sd_mem__foreign_malloc_anyway(size_t n);
void sd_mem__foreign_free(void *p);

#endif
