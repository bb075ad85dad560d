/* Any bytes as a corpus file, .jsonl, .csv or .txt by the first byte: refused with a sentence that names the file (parquet too, which is not read), or
 * its documents are UTF-8, none is blank, and the hash can be taken. */
#include "text/corpus.h"

#include "t_fuzz.h"
#include "t_fuzz_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const name[] = {"fuzz.jsonl", "fuzz.csv", "fuzz.txt"};
    sd_err err = {0};
    sd_corpus *c;
    if (size == 0) return 0;
    const char *path = t_fuzz_write(name[data[0] % 3], data + 1, size - 1);
    sd_status st = sd_corpus_open(&c, &path, 1, &err);
    SD_ASSERT((st == SD_OK) == (c != NULL));
    SD_ASSERT(st == SD_OK || ((st == SD_E_FORMAT || st == SD_E_UNSUPPORTED) && strstr(err.msg, name[data[0] % 3])));
    unlink(path);
    if (st) return 0;
    uint64_t bytes = 0;
    sd_sha256 hash;
    SD_ASSERT(sd_corpus_count(c) > 0);
    for (int64_t i = 0; i < sd_corpus_count(c); i++) {
        sd_slice s = sd_corpus_text(c, i);
        SD_ASSERT(s.n > 0 && sd_utf8_valid_prefix(s) == s.n && sd_slice_trim(s).n == s.n);
        SD_ASSERT(strcmp(sd_corpus_name(c, i), path) == 0);
        bytes += s.n;
    }
    SD_ASSERT(bytes == sd_corpus_bytes(c));
    sd_corpus_sha256(c, &hash);
    sd_corpus_close(c);
    return 0;
}

T_FUZZ_MAIN("fuzz_corpus")
