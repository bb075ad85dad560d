/* sd_kern_train for AVX-512: the plain loops in vectors of sixteen; the transposition is AVX2's, which is bound by
 * stores. */
#include "num/kern_train_plain.h"

const sd_kern_train sd_kern_train_avx512 = SD_KERN_TRAIN_PLAIN(sd_kern_train_transpose_avx2);
