/* The numbered migrations. A migration that was released is never edited; a change is a further entry.
 *
 * Only what is used has a table: audits come with the migration that fills them.
 * `feature_text` is contentless (the text can be rendered from the token ids again); rowid = feature. */
#include "store/store_int.h"

static const char init_001[] =
    "CREATE TABLE model (id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL, sha256 TEXT NOT NULL,"
    " n_layer INTEGER NOT NULL, d_model INTEGER NOT NULL, n_vocab INTEGER NOT NULL) STRICT;\n"
    "CREATE TABLE dict (id INTEGER PRIMARY KEY CHECK (id = 1), kind TEXT NOT NULL, site TEXT NOT NULL, sha256 TEXT NOT NULL,"
    " dataset TEXT NOT NULL, d INTEGER NOT NULL, m INTEGER NOT NULL, k INTEGER NOT NULL, n_dead INTEGER NOT NULL,"
    " n_tokens INTEGER NOT NULL, site_rms REAL, fvu REAL, l0 REAL, seed INTEGER NOT NULL) STRICT;\n"
    "CREATE TABLE run (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, tool TEXT NOT NULL, created TEXT NOT NULL,"
    " mode TEXT NOT NULL, isa TEXT NOT NULL, args TEXT NOT NULL, data_sha256 TEXT NOT NULL, n_threads INTEGER NOT NULL,"
    " n_tokens INTEGER NOT NULL, n_docs INTEGER NOT NULL, n_sinks INTEGER NOT NULL, win_before INTEGER NOT NULL,"
    " win_after INTEGER NOT NULL, seed INTEGER NOT NULL) STRICT;\n"
    "CREATE TABLE token (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL, special INTEGER NOT NULL) STRICT;\n"
    "CREATE TABLE document (id INTEGER PRIMARY KEY, name TEXT NOT NULL, n_tokens INTEGER NOT NULL) STRICT;\n"
    /* tokens: int32 each, positions pos0 .. pos0 + 511 at most; pos0 is a multiple of 512 */
    "CREATE TABLE corpus (doc INTEGER NOT NULL, pos0 INTEGER NOT NULL, tokens BLOB NOT NULL, UNIQUE (doc, pos0)) STRICT;\n"
    "CREATE TABLE feature (id INTEGER PRIMARY KEY, n_fire INTEGER NOT NULL, density REAL NOT NULL, max_act REAL NOT NULL,"
    " mean_act REAL NOT NULL, interest REAL NOT NULL, threshold REAL NOT NULL, words TEXT NOT NULL, hist BLOB NOT NULL,"
    " logit_mean REAL NOT NULL, logit_std REAL NOT NULL, top BLOB NOT NULL, bottom BLOB NOT NULL, near BLOB NOT NULL,"
    " tokens BLOB NOT NULL, intervals BLOB NOT NULL) STRICT;\n"
    "CREATE INDEX feature_interest ON feature (interest);\n"
    "CREATE TABLE example (feature INTEGER NOT NULL, grp INTEGER NOT NULL, rank INTEGER NOT NULL, doc INTEGER NOT NULL,"
    " pos INTEGER NOT NULL, pos0 INTEGER NOT NULL, n INTEGER NOT NULL, act REAL NOT NULL, vals BLOB NOT NULL,"
    " PRIMARY KEY (feature, grp, rank)) STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE label (id INTEGER PRIMARY KEY, feature INTEGER NOT NULL, text TEXT NOT NULL, source TEXT NOT NULL,"
    " author TEXT NOT NULL, created TEXT NOT NULL, score REAL) STRICT;\n"
    "CREATE INDEX label_feature ON label (feature);\n"
    "CREATE VIRTUAL TABLE feature_text USING fts5 (peak, logits, context, content = '',"
    " tokenize = 'porter unicode61 remove_diacritics 2');\n"
    "CREATE VIRTUAL TABLE label_text USING fts5 (text, content = 'label', content_rowid = 'id',"
    " tokenize = 'porter unicode61 remove_diacritics 2');\n";

/* Directions (so that a map, a neighbour in another store and a difference of two need no dictionary), the map and its clusters, and how
 * a machine's label was scored. */
static const char meaning_002[] =
    "CREATE TABLE direction (id INTEGER PRIMARY KEY, half BLOB NOT NULL) STRICT;\n"
    "CREATE TABLE map (id INTEGER PRIMARY KEY CHECK (id = 1), tool TEXT NOT NULL, created TEXT NOT NULL, k INTEGER NOT NULL,"
    " epochs INTEGER NOT NULL, min_dist REAL NOT NULL, seed INTEGER NOT NULL, n_checked INTEGER NOT NULL, kept REAL, kept_chance REAL,"
    " trust REAL, modularity REAL) STRICT;\n"
    "CREATE TABLE map_cluster (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, words TEXT NOT NULL) STRICT;\n"
    "CREATE TABLE map_point (id INTEGER PRIMARY KEY, x REAL NOT NULL, y REAL NOT NULL, cluster INTEGER NOT NULL) STRICT;\n"
    "ALTER TABLE label ADD COLUMN detection REAL;\n"
    "ALTER TABLE label ADD COLUMN fuzzing REAL;\n"
    "ALTER TABLE label ADD COLUMN floor REAL;\n"
    "ALTER TABLE label ADD COLUMN n_case INTEGER NOT NULL DEFAULT 0;\n"
    "ALTER TABLE label ADD COLUMN args TEXT NOT NULL DEFAULT '';\n"
    "ALTER TABLE label ADD COLUMN shown INTEGER NOT NULL DEFAULT 1;\n";

/* Where every feature fires, and what sorted lists of a million features need. Nothing that was there changed: version 2 is read as it is. */
static const char posting_003[] =
    /* id: feature * 65536 + part; a part holds up to 65536 entries */
    "CREATE TABLE posting (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, entries BLOB NOT NULL) STRICT;\n"
    "CREATE INDEX feature_density ON feature (density, n_fire);\n"
    "CREATE INDEX feature_max_act ON feature (max_act, density, n_fire);\n"
    "DROP INDEX feature_interest;\n"
    "CREATE INDEX feature_interest ON feature (interest, density, n_fire);\n";

const char *const sd_store__migration[] = {init_001, meaning_002, posting_003};
const int sd_store__n_migration = (int)(sizeof sd_store__migration / sizeof *sd_store__migration);
