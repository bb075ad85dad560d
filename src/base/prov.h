/* Provenance: what made a result. Every artefact and every --json carries one. */
#ifndef SD_BASE_PROV_H
#define SD_BASE_PROV_H

#include "base/json.h"
#include "base/hash.h"

typedef struct sd_prov {
    char tool[32]; /* "sonde 0.1.0" */
    char cpu[64], isa[16], mode[16];
    int n_threads;
    uint64_t seed;
    char model_sha256[65], data_sha256[65], dict_sha256[65]; /* empty when there is none */
    char created[32];                                        /* RFC 3339, given by the program */
    char args[512];                                          /* the command line */
} sd_prov;
void sd_prov_write(sd_jw *w, const sd_prov *p); /* one object; empty fields left out */

#endif
