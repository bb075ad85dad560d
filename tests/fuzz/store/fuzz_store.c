/* A store file of any bytes: opened and read through, it gives values in their ranges or an error, never anything else. */
#include "t.h"
#include "store/store.h"

#include <dirent.h>
#include <sys/mman.h>

static void read_all(sd_store *s)
{
    sd_feature_list l;
    int64_t n = sd_store_get_info(s)->n_features;
    for (int64_t i = 0; i < n && i < 50; i++) {
        sd_feature *f = NULL;
        sd_err err = {0};
        if (sd_store_feature(&f, s, i, 0, &err)) {
            if (!err.msg[0]) abort();
            continue;
        }
        for (int e = 0; e < f->n_example; e++)
            for (int t = 0; t < f->example[e].n; t++) {
                if (f->example[e].tok[t] >= sd_store_get_info(s)->model.n_vocab || f->example[e].val[t] < 0) abort();
                (void)sd_store_token(s, f->example[e].tok[t]);
            }
        sd_feature_free(f);
    }
    if (!sd_store_search(&l, s, "golden \"gate bridge\" word3", 10, NULL)) sd_feature_list_release(&l);
    if (!sd_store_list(&l, s, &(sd_feature_query){.sort = SD_SORT_INTEREST}, NULL)) sd_feature_list_release(&l);
    if (!sd_store_near(&l, s, 1, 0, NULL)) sd_feature_list_release(&l);
    if (!sd_store_coactive(&l, s, 1, 0, NULL)) sd_feature_list_release(&l);
    sd_posting *v = NULL;
    int64_t n_post = 0;
    if (!sd_store_postings(&v, &n_post, s, 2, NULL)) sd_free(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    char path[64];
    sd_err err = {0};
    sd_store *s = NULL;
    int fd = memfd_create("store", MFD_CLOEXEC);
    if (fd < 0 || write(fd, p, n) != (ssize_t)n) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    sd_status st = sd_store_open(&s, path, &err);
    if ((st == SD_OK) != (s != NULL) || (st && !err.msg[0])) abort();
    if (s) read_all(s);
    sd_store_close(s);
    close(fd);
    return 0;
}

#ifndef SD_LIBFUZZER
static int replay(const char *path)
{
    FILE *f = fopen(path, "rb");
    static uint8_t bytes[1 << 20];
    if (!f) return 0;
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    LLVMFuzzerTestOneInput(bytes, n);
    /* The same file with single bytes changed, at places that spread over it. */
    for (size_t i = 0; n && i < 64; i++) {
        size_t at = (i * 2654435761u) % n;
        uint8_t was = bytes[at];
        bytes[at] ^= (uint8_t)(1 + i * 37);
        LLVMFuzzerTestOneInput(bytes, n);
        bytes[at] = was;
    }
    return 1;
}

int main(int argc, char **argv)
{
    int n = 0;
    DIR *d = argc > 1 ? opendir(argv[1]) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[1024];
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], e->d_name);
        n += replay(path);
    }
    if (d) closedir(d);
    printf("%s fuzz_store (%d inputs)\n", n ? "[       OK ]" : "[  FAILED  ]", n);
    return n ? 0 : 1;
}
#endif
