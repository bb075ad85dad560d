/* The shapes of AMX's eight tiles. A kernel loads its own at entry and releases them at exit: oneDNN uses tiles in the same threads. */
#ifndef SD_NUM_KERN_AMX_H
#define SD_NUM_KERN_AMX_H

#include "num/kern_slots.h"

/* What LDTILECFG reads (Intel SDM vol. 1, 18.2); palette is 1. A tile of no rows is not used. */
typedef struct sd_amx_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} sd_amx_shapes;
_Static_assert(sizeof(sd_amx_shapes) == 64, "LDTILECFG reads 64 bytes");

/* sd_kern_tiles.tile_bf16 */
void sd_amx_tile_bf16(const sd_tile *t, const void *ahead, int64_t n_ahead);

/* Not gcc 12's intrinsic: it names eight bytes as its input, so that stores of the rest may be dropped. */
static inline void sd_amx_load_shapes(const sd_amx_shapes *s) { __asm__ volatile("ldtilecfg %0" : : "m"(*s)); }

#endif
