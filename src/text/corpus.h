/* A corpus is an ordered list of documents read from files: .jsonl (a row a document, its field "text" or "content"), .csv
 * with a header (RFC 4180; column "text" or "content"), and prose or source code for every other name: a file is one
 * document, or, above 64 KiB, one for every 2 KiB or so, cut at blank lines. White space around a document goes, and
 * documents of nothing else. UTF-8 is required of what is named; what a folder holds beside UTF-8 is left out and counted. */
#ifndef SD_TEXT_CORPUS_H
#define SD_TEXT_CORPUS_H

#include "base/map.h"
#include "base/hash.h"

typedef struct sd_corpus sd_corpus;
/* paths: files or folders (recursive, sorted). A named file that is not UTF-8, or folders of nothing else: SD_E_FORMAT naming file, line and byte; UTF-16: SD_E_UNSUPPORTED. */
sd_status sd_corpus_open(sd_corpus **out, const char *const *paths, int n_paths, sd_err *err);
/* One text as the whole corpus (copied); name stands for its file. */
sd_status sd_corpus_of_text(sd_corpus **out, sd_slice text, const char *name, sd_err *err);
void sd_corpus_close(sd_corpus *c);
int64_t sd_corpus_count(const sd_corpus *c);
uint64_t sd_corpus_bytes(const sd_corpus *c);
sd_slice sd_corpus_text(const sd_corpus *c, int64_t doc);   /* valid until close */
const char *sd_corpus_name(const sd_corpus *c, int64_t doc); /* file it came from */
/* Files of folders that were left out because they are not UTF-8; *first is why the first of them was (valid until close; NULL when there is none). */
int64_t sd_corpus_left_out(const sd_corpus *c, const char **first);
int64_t sd_corpus_files(const sd_corpus *c);                 /* files that were read, without those */
void sd_corpus_sha256(const sd_corpus *c, sd_sha256 *out);   /* a chain over the documents, in order */

#endif
