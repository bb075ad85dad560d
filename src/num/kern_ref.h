/* What the plain kernels share. */
#ifndef SD_NUM_KERN_REF_H
#define SD_NUM_KERN_REF_H

/* A second copy of a function for CPUs with FMA, chosen when the program loads: fmaf is then an instruction and
 * not a call, with the same bits. Not under ThreadSanitizer, whose start is after that choice. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define SD_REF_CLONES __attribute__((target_clones("fma", "default")))
#else
#define SD_REF_CLONES
#endif

#endif
