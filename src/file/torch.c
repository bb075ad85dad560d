/* torch.save's zip files (torch 1.6 and later): NAME/data.pkl, a pickle that names storages, and NAME/data/KEY, their bytes.
 *
 * A pickle is a program for a stack machine that may call anything; this one builds numbers, texts, lists, tuples, dictionaries and
 * tensors, and nothing else. A name it may push is one of the table `known`; REDUCE on anything but OrderedDict and the two functions that
 * rebuild tensors is refused with the name that was asked for. No name is ever looked up, nothing is called. Reference: CPython's
 * Lib/pickletools.py for the opcodes, torch/_utils.py and torch/serialization.py for what torch writes.
 *
 * Nodes, cells, stack and memo have fixed maxima; a dictionary that contains itself ends at a depth of 8, one that is shared many times at
 * the maximum of entries, whatever they are. Tensors that must be copied (columns, odd addresses) may together take twice the file. */
#include "file/weights_int.h"
#include "file/zip.h"
#include <inttypes.h>

enum { MOST_PICKLE = 1 << 24, MOST_NODES = 1 << 20, MOST_STACK = 1 << 16, MOST_MARKS = 256, MOST_DEPTH = 8, MOST_FOUND = 1 << 16, MOST_NAME = 512 };

typedef enum kind { K_NONE, K_BOOL, K_INT, K_FLOAT, K_TEXT, K_LIST, K_TUPLE, K_DICT, K_NAME, K_STORAGE, K_TENSOR, K_OTHER } kind;
typedef enum role { N_ORDERED_DICT, N_TENSOR, N_PARAMETER, N_STORAGE } role;

static const struct known { const char *module, *name; role what; sd_dtype type; const char *type_name; } known[] = {
    {"collections", "OrderedDict", N_ORDERED_DICT, SD_DTYPE_NONE, NULL},
    {"torch._utils", "_rebuild_tensor_v2", N_TENSOR, SD_DTYPE_NONE, NULL},
    {"torch._utils", "_rebuild_parameter", N_PARAMETER, SD_DTYPE_NONE, NULL},
    {"torch", "FloatStorage", N_STORAGE, SD_F32, "F32"},
    {"torch", "HalfStorage", N_STORAGE, SD_F16, "F16"},
    {"torch", "BFloat16Storage", N_STORAGE, SD_BF16, "BF16"},
    {"torch", "DoubleStorage", N_STORAGE, SD_F64, "F64"},
    {"torch", "LongStorage", N_STORAGE, SD_I64, "I64"},
    {"torch", "IntStorage", N_STORAGE, SD_I32, "I32"},
    {"torch", "ShortStorage", N_STORAGE, SD_I16, "I16"},
    {"torch", "CharStorage", N_STORAGE, SD_I8, "I8"},
    {"torch", "ByteStorage", N_STORAGE, SD_U8, "U8"},
    {"torch", "BoolStorage", N_STORAGE, SD_U8, "BOOL"},
};

typedef struct node {
    kind k;
    union {
        int64_t i;               /* BOOL, INT; NAME: place in known */
        double f;
        sd_slice s;              /* TEXT, in the pickle */
        struct { int32_t head, tail, n; } seq; /* LIST, TUPLE, DICT: cells */
        struct { int32_t type; sd_slice key; int64_t n; } store; /* type: place in known */
        struct { int32_t store; int rank; int64_t offset, dim[SD_MAX_RANK], stride[SD_MAX_RANK]; } t;
    } u;
} node;

typedef struct cell { int32_t key, val, next; } cell; /* key -1 outside dictionaries */

typedef struct machine {
    sd_weights *w;
    int64_t source;
    const char *path;
    sd_err *err;
    sd_cursor c;
    node *node;
    int64_t n_node, cap_node;
    cell *cell;
    int64_t n_cell, cap_cell;
    int32_t *memo, *stack;
    int64_t n_memo, cap_memo;
    int32_t mark[MOST_MARKS];
    int n_mark, n_stack;
    const sd_zip *zip;
    sd_slice prefix;      /* "archive/" */
    int64_t found;
    size_t copied;        /* bytes of tensors that could not stay where they lie */
} machine;

static sd_status bad(const machine *m, const char *what) { return sd_fail(m->err, SD_E_FORMAT, "%s: its pickle %s (byte %zu)", m->path, what, m->c.off); }

static sd_status refuse(const machine *m, sd_slice module, sd_slice name)
{
    (void)sd_fail(m->err, SD_E_UNSUPPORTED, "%s: its pickle asks for %.*s.%.*s; nothing but tensors, numbers, texts, lists and dictionaries is built from a pickle", m->path,
                  module.n > 80 ? 80 : (int)module.n, module.p, name.n > 80 ? 80 : (int)name.n, name.p);
    return sd_hint(m->err, "save the state_dict() alone, or as safetensors");
}

static sd_status new_node(machine *m, kind k, int32_t *out)
{
    if (m->n_node == MOST_NODES) return bad(m, "makes more than a million objects");
    const sd_status st = sd_weights__grow(&m->node, m->n_node, &m->cap_node, sizeof *m->node, m->err);
    if (st) return st;
    *out = (int32_t)m->n_node;
    m->node[m->n_node] = (node){.k = k};
    if (k == K_LIST || k == K_TUPLE || k == K_DICT) m->node[m->n_node].u.seq.head = m->node[m->n_node].u.seq.tail = -1;
    m->n_node++;
    return SD_OK;
}

static sd_status push(machine *m, int32_t at)
{
    if (m->n_stack == MOST_STACK) return bad(m, "stacks too much");
    m->stack[m->n_stack++] = at;
    return SD_OK;
}

static sd_status push_new(machine *m, node v)
{
    int32_t at = -1;
    const sd_status st = new_node(m, v.k, &at);
    if (st) return st;
    if (v.k != K_LIST && v.k != K_TUPLE && v.k != K_DICT) m->node[at] = v;
    return push(m, at);
}

/* Objects above the lowest place that may be touched: that of the last mark. */
static int floor_of(const machine *m) { return m->n_mark ? m->mark[m->n_mark - 1] : 0; }

static sd_status pop(machine *m, int32_t *out)
{
    if (m->n_stack <= floor_of(m)) return bad(m, "takes from an empty stack");
    *out = m->stack[--m->n_stack];
    return SD_OK;
}

static sd_status append(machine *m, int32_t to, int32_t key, int32_t val)
{
    const sd_status st = sd_weights__grow(&m->cell, m->n_cell, &m->cap_cell, sizeof *m->cell, m->err);
    if (st) return st;
    if (m->n_cell == MOST_NODES) return bad(m, "fills its lists with more than a million entries");
    m->cell[m->n_cell] = (cell){key, val, -1};
    node *n = &m->node[to];
    if (n->u.seq.tail >= 0) m->cell[n->u.seq.tail].next = (int32_t)m->n_cell;
    else n->u.seq.head = (int32_t)m->n_cell;
    n->u.seq.tail = (int32_t)m->n_cell++;
    n->u.seq.n++;
    return SD_OK;
}

/* The objects since the last mark, as a tuple, list or dictionary. */
static sd_status collect(machine *m, kind k)
{
    int32_t at = -1;
    if (!m->n_mark) return bad(m, "closes what it did not open");
    const int from = m->mark[--m->n_mark], n = m->n_stack - from;
    if (k == K_DICT && n % 2) return bad(m, "has a key without a value");
    sd_status st = new_node(m, k, &at);
    for (int i = 0; i < n && !st; i += k == K_DICT ? 2 : 1)
        st = k == K_DICT ? append(m, at, m->stack[from + i], m->stack[from + i + 1]) : append(m, at, -1, m->stack[from + i]);
    m->n_stack = from;
    return st ? st : push(m, at);
}

/* The last n objects as a tuple. */
static sd_status tuple_of(machine *m, int n)
{
    int32_t at = -1;
    if (m->n_stack - floor_of(m) < n) return bad(m, "takes from an empty stack");
    sd_status st = new_node(m, K_TUPLE, &at);
    for (int i = 0; i < n && !st; i++) st = append(m, at, -1, m->stack[m->n_stack - n + i]);
    m->n_stack -= n;
    return st ? st : push(m, at);
}

/* What follows the last mark goes into the list or dictionary below it; without a mark (one) the last object or pair. */
static sd_status fill(machine *m, kind k, bool one)
{
    int from = m->n_stack - (k == K_DICT ? 2 : 1);
    if (!one) {
        if (!m->n_mark) return bad(m, "closes what it did not open");
        from = m->mark[--m->n_mark];
    }
    if (from - 1 < floor_of(m) || (k == K_DICT && (m->n_stack - from) % 2)) return bad(m, "fills what is not there");
    const int32_t to = m->stack[from - 1];
    if (m->node[to].k != k) return bad(m, "fills something that is no list or dictionary");
    sd_status st = SD_OK;
    for (int i = from; i < m->n_stack && !st; i += k == K_DICT ? 2 : 1)
        st = k == K_DICT ? append(m, to, m->stack[i], m->stack[i + 1]) : append(m, to, -1, m->stack[i]);
    m->n_stack = from;
    return st;
}

static sd_status push_name(machine *m, sd_slice module, sd_slice what)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (sd_slice_eq_str(module, known[i].module) && sd_slice_eq_str(what, known[i].name)) return push_new(m, (node){.k = K_NAME, .u.i = (int64_t)i});
    return refuse(m, module, what);
}

/* A line of the pickle without its end. */
static bool line(machine *m, sd_slice *out)
{
    const uint8_t *p = m->c.base + m->c.off, *end = memchr(p, '\n', sd_cur_left(&m->c));
    if (!end) return false;
    *out = (sd_slice){(const char *)p, (size_t)(end - p)};
    sd_cur_skip(&m->c, out->n + 1);
    return true;
}

/* Element i of a sequence, -1 when it has fewer. */
static int32_t element(const machine *m, int32_t seq, int i)
{
    int32_t c = m->node[seq].u.seq.head;
    for (; c >= 0 && i > 0; i--) c = m->cell[c].next;
    return c < 0 ? -1 : m->cell[c].val;
}

static bool is(const machine *m, int32_t at, kind k) { return at >= 0 && m->node[at].k == k; }

/* ("storage", torch.FloatStorage, "0", "cpu", 12) */
static sd_status push_storage(machine *m)
{
    int32_t id = -1;
    const sd_status st = pop(m, &id);
    if (st) return st;
    if (!is(m, id, K_TUPLE) || m->node[id].u.seq.n < 5) return bad(m, "names a storage in an unknown way");
    const int32_t what = element(m, id, 0), type = element(m, id, 1), key = element(m, id, 2), n = element(m, id, 4);
    if (!is(m, what, K_TEXT) || !sd_slice_eq_str(m->node[what].u.s, "storage") || !is(m, type, K_NAME) || known[m->node[type].u.i].what != N_STORAGE ||
        !is(m, key, K_TEXT) || !is(m, n, K_INT) || m->node[n].u.i < 0)
        return bad(m, "names a storage in an unknown way");
    node v = {.k = K_STORAGE};
    v.u.store.type = (int32_t)m->node[type].u.i;
    v.u.store.key = m->node[key].u.s;
    v.u.store.n = m->node[n].u.i;
    return push_new(m, v);
}

static bool read_ints(const machine *m, int32_t seq, int64_t out[SD_MAX_RANK], int *n)
{
    if (!is(m, seq, K_TUPLE) || m->node[seq].u.seq.n > SD_MAX_RANK) return false;
    *n = m->node[seq].u.seq.n;
    for (int i = 0; i < *n; i++) {
        const int32_t e = element(m, seq, i);
        if (!is(m, e, K_INT) || m->node[e].u.i < 0) return false;
        out[i] = m->node[e].u.i;
    }
    return true;
}

/* _rebuild_tensor_v2(storage, offset, size, stride, ..) */
static sd_status rebuild(machine *m, int32_t args)
{
    node v = {.k = K_TENSOR};
    int n_stride = 0;
    const int32_t store = element(m, args, 0), offset = element(m, args, 1);
    if (!is(m, store, K_STORAGE) || !is(m, offset, K_INT) || m->node[offset].u.i < 0 || !read_ints(m, element(m, args, 2), v.u.t.dim, &v.u.t.rank) ||
        !read_ints(m, element(m, args, 3), v.u.t.stride, &n_stride) || n_stride != v.u.t.rank)
        return bad(m, "rebuilds a tensor from something that is none");
    v.u.t.store = store;
    v.u.t.offset = m->node[offset].u.i;
    return push_new(m, v);
}

static sd_status reduce(machine *m)
{
    int32_t args = -1, f = -1;
    sd_status st = pop(m, &args);
    if (!st) st = pop(m, &f);
    if (st) return st;
    if (!is(m, f, K_NAME) || !is(m, args, K_TUPLE)) return bad(m, "calls something that is no known function");
    const struct known *k = &known[m->node[f].u.i];
    switch (k->what) {
    case N_ORDERED_DICT:
        if (m->node[args].u.seq.n) return bad(m, "makes an OrderedDict of something");
        return push_new(m, (node){.k = K_DICT});
    case N_TENSOR: return rebuild(m, args);
    case N_PARAMETER:
        if (!is(m, element(m, args, 0), K_TENSOR)) return bad(m, "makes a parameter of something that is no tensor");
        return push(m, element(m, args, 0));
    case N_STORAGE: break;
    }
    return refuse(m, sd_slice_of(k->module), sd_slice_of(k->name));
}

/* The state that a state_dict carries beside its entries (_metadata) says nothing about tensors. */
static sd_status build(machine *m)
{
    int32_t state = -1, on = -1;
    sd_status st = pop(m, &state);
    if (!st) st = pop(m, &on);
    if (st) return st;
    if (!is(m, on, K_DICT)) return bad(m, "sets the state of something that is no dictionary");
    return push(m, on);
}

static sd_status put_memo(machine *m, int64_t at)
{
    if (at > MOST_NODES || m->n_stack <= floor_of(m)) return bad(m, "keeps what is not there");
    for (; m->n_memo <= at; m->n_memo++) {
        const sd_status st = sd_weights__grow(&m->memo, m->n_memo, &m->cap_memo, sizeof *m->memo, m->err);
        if (st) return st;
        m->memo[m->n_memo] = -1;
    }
    m->memo[at] = m->stack[m->n_stack - 1];
    return SD_OK;
}

static sd_status get_memo(machine *m, int64_t at)
{
    if (at >= m->n_memo || m->memo[at] < 0) return bad(m, "asks for what it never kept");
    return push(m, m->memo[at]);
}

static sd_status push_text(machine *m, uint64_t n)
{
    const char *p = sd_cur_bytes(&m->c, n);
    return push_new(m, (node){.k = K_TEXT, .u.s = {p, p ? (size_t)n : 0}});
}

/* An integer of n bytes, little-endian two's complement. */
static sd_status push_long(machine *m, int n)
{
    const uint8_t *p = sd_cur_bytes(&m->c, (uint64_t)n);
    uint64_t v = 0;
    if (!p || n > 8) return n > 8 ? bad(m, "holds a number beyond 64 bits") : SD_OK;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    if (n > 0 && n < 8 && p[n - 1] & 0x80) v |= UINT64_MAX << (8 * n);
    return push_new(m, (node){.k = K_INT, .u.i = (int64_t)v});
}

static sd_status push_double(machine *m) /* big-endian, unlike all else */
{
    const uint8_t *p = sd_cur_bytes(&m->c, 8);
    union { uint64_t u; double f; } v = {0};
    for (int i = 0; i < 8 && p; i++) v.u = v.u << 8 | p[i];
    return push_new(m, (node){.k = K_FLOAT, .u.f = v.f});
}

static sd_status step_names(machine *m, uint8_t op)
{
    sd_slice module, what;
    int32_t a = -1, b = -1;
    if (op == 'c') return line(m, &module) && line(m, &what) ? push_name(m, module, what) : bad(m, "ends in a name");
    sd_status st = pop(m, &b);
    if (!st) st = pop(m, &a);
    if (st) return st;
    return is(m, a, K_TEXT) && is(m, b, K_TEXT) ? push_name(m, m->node[a].u.s, m->node[b].u.s) : bad(m, "has a name that is no text");
}

static sd_status step(machine *m, uint8_t op, bool *done)
{
    int32_t at;
    switch (op) {
    case 0x80: (void)sd_cur_u8(&m->c); return SD_OK;   /* PROTO */
    case 0x95: (void)sd_cur_u64(&m->c); return SD_OK;  /* FRAME */
    case '.': *done = true; return SD_OK;
    case '(':
        if (m->n_mark == MOST_MARKS) return bad(m, "nests too deep");
        m->mark[m->n_mark++] = m->n_stack;
        return SD_OK;
    case '0': return pop(m, &at);
    case 'N': return push_new(m, (node){.k = K_NONE});
    case 0x88: return push_new(m, (node){.k = K_BOOL, .u.i = 1});
    case 0x89: return push_new(m, (node){.k = K_BOOL, .u.i = 0});
    case 'J': return push_long(m, 4);
    case 'K': return push_new(m, (node){.k = K_INT, .u.i = sd_cur_u8(&m->c)});
    case 'M': return push_new(m, (node){.k = K_INT, .u.i = sd_cur_u16(&m->c)});
    case 0x8a: return push_long(m, sd_cur_u8(&m->c));
    case 'G': return push_double(m);
    case 'X': return push_text(m, sd_cur_u32(&m->c));
    case 0x8c: return push_text(m, sd_cur_u8(&m->c));
    case 0x8d: return push_text(m, sd_cur_u64(&m->c));
    case 'U': return push_text(m, sd_cur_u8(&m->c));
    case 'T': return push_text(m, sd_cur_u32(&m->c));
    case '}': return push_new(m, (node){.k = K_DICT});
    case ']': return push_new(m, (node){.k = K_LIST});
    case ')': return push_new(m, (node){.k = K_TUPLE});
    case 'a': return fill(m, K_LIST, true);
    case 'e': return fill(m, K_LIST, false);
    case 's': return fill(m, K_DICT, true);
    case 'u': return fill(m, K_DICT, false);
    case 't': return collect(m, K_TUPLE);
    case 'l': return collect(m, K_LIST);
    case 'd': return collect(m, K_DICT);
    case 0x85: return tuple_of(m, 1);
    case 0x86: return tuple_of(m, 2);
    case 0x87: return tuple_of(m, 3);
    case 'q': return put_memo(m, sd_cur_u8(&m->c));
    case 'r': return put_memo(m, sd_cur_u32(&m->c));
    case 0x94: return put_memo(m, m->n_memo);
    case 'h': return get_memo(m, sd_cur_u8(&m->c));
    case 'j': return get_memo(m, sd_cur_u32(&m->c));
    case 'c':
    case 0x93: return step_names(m, op);
    case 'Q': return push_storage(m);
    case 'R': return reduce(m);
    case 'b': return build(m);
    default: break;
    }
    (void)sd_fail(m->err, SD_E_UNSUPPORTED, "%s: its pickle has the instruction 0x%02x at byte %zu, which no file of tensors needs", m->path, op, m->c.off - 1);
    return sd_hint(m->err, "save the state_dict() alone, or as safetensors");
}

/* Bytes of a storage's member, which must hold as many elements as the pickle says. */
static sd_status storage_bytes(machine *m, const node *s, const uint8_t **p, sd_err *err)
{
    char name[MOST_NAME];
    void *owned;
    const size_t elem = sd_dtype_get(known[s->u.store.type].type)->bytes;
    if (snprintf(name, sizeof name, "%.*sdata/%.*s", SD_SLICE(m->prefix), SD_SLICE(s->u.store.key)) >= (int)sizeof name) return bad(m, "has a storage with a long name");
    sd_zip_member *member = sd_zip_find(m->zip, name);
    if (!member) return sd_fail(err, SD_E_FORMAT, "%s: the storage %s is missing", m->path, name);
    if (member->deflated) return sd_fail(err, SD_E_UNSUPPORTED, "%s: the storage %s is packed, which torch never does", m->path, name);
    if ((uint64_t)s->u.store.n > member->n / elem)
        return sd_fail(err, SD_E_FORMAT, "%s: the storage %s has %" PRIu64 " bytes, its tensors need %" PRId64 " numbers of %zu", m->path, name, member->n, s->u.store.n, elem);
    return sd_zip_bytes(member, UINT64_MAX, p, &owned, m->path, err);
}

/* A small file can name one storage as many tensors; each that is copied counts. */
static sd_status count_copy(machine *m, size_t bytes)
{
    const size_t most = 2 * m->w->source[m->source].map.n;
    if (bytes > most - m->copied) return bad(m, "makes tensors of more than twice the bytes in the file");
    m->copied += bytes;
    return SD_OK;
}

/* Rows that do not lie one after the other are copied; never to more elements than the storage has. */
static sd_status gather(machine *m, sd_tensor *t, const node *v, const uint8_t *from, size_t elem)
{
    uint8_t *to = NULL;
    int64_t at[SD_MAX_RANK] = {0}, n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->dim[i];
    if (n > m->node[v->u.t.store].u.store.n) return bad(m, "spreads a storage over a larger tensor");
    sd_status st = count_copy(m, t->bytes);
    if (!st) st = sd_alloc(&to, t->bytes + 1, "a tensor in order", m->err);
    if (!st) st = sd_weights__keep(m->w, to, m->err);
    if (st) return st;
    for (int64_t e = 0; e < n; e++) {
        int64_t place = v->u.t.offset;
        for (int i = 0; i < t->rank; i++) place += at[i] * v->u.t.stride[i];
        memcpy(to + (size_t)e * elem, from + (size_t)place * elem, elem);
        for (int i = t->rank - 1; i >= 0 && ++at[i] == t->dim[i]; i--) at[i] = 0;
    }
    t->data = to;
    return SD_OK;
}

static sd_status add_tensor(machine *m, sd_slice name, int32_t at)
{
    const node *v = &m->node[at], *s = &m->node[v->u.t.store];
    const uint8_t *p;
    const size_t elem = sd_dtype_get(known[s->u.store.type].type)->bytes;
    sd_tensor t = {.name = name, .dtype = known[s->u.store.type].type, .rank = v->u.t.rank, .type_name = known[s->u.store.type].type_name};
    int64_t expect = 1, last = v->u.t.offset, n = 1;
    bool in_order = true, empty = false;
    memcpy(t.dim, v->u.t.dim, sizeof t.dim);
    if (!sd_weights__size(&t, 1, elem, &t.bytes)) return bad(m, "has a tensor of more elements than can be counted");
    for (int i = 0; i < t.rank; i++) empty = empty || t.dim[i] == 0;
    for (int i = t.rank - 1; i >= 0 && !empty; i--) { /* the place of the last element, without overflow */
        int64_t span;
        in_order = in_order && (t.dim[i] == 1 || v->u.t.stride[i] == expect);
        expect *= t.dim[i];
        n *= t.dim[i];
        if (__builtin_mul_overflow(t.dim[i] - 1, v->u.t.stride[i], &span) || __builtin_add_overflow(last, span, &last)) return bad(m, "has a tensor outside its storage");
    }
    if (!empty && last >= s->u.store.n) return bad(m, "has a tensor outside its storage");
    sd_status st = storage_bytes(m, s, &p, m->err);
    if (st) return st;
    if (empty) t.data = p;
    else if (in_order) t.data = p + (size_t)v->u.t.offset * elem;
    else if ((st = gather(m, &t, v, p, elem))) return st;
    if ((uintptr_t)t.data % elem && (st = count_copy(m, t.bytes))) return st;
    st = sd_weights__align(m->w, &t, m->err);
    return st ? st : sd_weights__add(m->w, m->source, &t, m->err);
}

/* A number or a text, as metadata of the file. */
static sd_status add_value(machine *m, sd_slice name, const node *v)
{
    sd_kv kv = {.key = name, .type = v->k == K_TEXT ? SD_V_STR : v->k == K_FLOAT ? SD_V_F64 : v->k == K_BOOL ? SD_V_BOOL : SD_V_I64, .n = 1};
    if (v->k == K_TEXT) {
        if (!sd_weights__name_ok(v->u.s)) return SD_OK; /* nothing that a setting would be */
        kv.p = (const uint8_t *)v->u.s.p;
        kv.bytes = v->u.s.n;
        return sd_weights__put_kv(m->w, &kv, m->err);
    }
    uint8_t *p = NULL;
    sd_status st = sd_alloc(&p, 8, "a setting", m->err);
    if (!st) st = sd_weights__keep(m->w, p, m->err);
    if (st) return st;
    if (v->k == K_BOOL) *p = v->u.i != 0;
    else memcpy(p, v->k == K_FLOAT ? (const void *)&v->u.f : (const void *)&v->u.i, 8);
    kv.p = p;
    kv.bytes = v->k == K_BOOL ? 1 : 8;
    return sd_weights__put_kv(m->w, &kv, m->err);
}

/* Tensors, numbers and texts of a dictionary by name; those of a dictionary in it as "outer.inner". Lists hold no weights. */
static sd_status walk(machine *m, int32_t dict, const char *before, int depth)
{
    sd_status st = SD_OK;
    if (depth > MOST_DEPTH) return bad(m, "nests dictionaries too deep");
    for (int32_t c = m->node[dict].u.seq.head; c >= 0 && !st; c = m->cell[c].next) {
        const int32_t key = m->cell[c].key, val = m->cell[c].val;
        const kind k = m->node[val].k;
        char full[MOST_NAME];
        if (++m->found > MOST_FOUND) return bad(m, "has more than 65,536 entries");
        if (!is(m, key, K_TEXT) || k == K_NONE || k == K_LIST || k == K_TUPLE || k == K_NAME || k == K_STORAGE) continue;
        const int n = snprintf(full, sizeof full, "%s%.*s%s", before, SD_SLICE(m->node[key].u.s), k == K_DICT ? "." : "");
        if (n < 0 || n >= (int)sizeof full || !sd_weights__name_ok((sd_slice){full, (size_t)n})) return bad(m, "has a name that is no name of a tensor");
        if (k == K_DICT) {
            st = walk(m, val, full, depth + 1);
            continue;
        }
        char *kept = sd_strdup(full);
        if (!kept) return sd_fail(m->err, SD_E_NOMEM, "out of memory: the name of a tensor");
        if ((st = sd_weights__keep(m->w, kept, m->err))) return st;
        st = k == K_TENSOR ? add_tensor(m, sd_slice_of(kept), val) : add_value(m, sd_slice_of(kept), &m->node[val]);
    }
    return st;
}

static sd_status run(machine *m)
{
    bool done = false;
    sd_status st = SD_OK;
    while (!st && !done) {
        const uint8_t op = sd_cur_u8(&m->c);
        if (!sd_cur_failed(&m->c)) st = step(m, op, &done);
        if (sd_cur_failed(&m->c)) return sd_cur_fail(&m->c, m->err, m->path, "the pickle");
    }
    if (st) return st;
    if (m->n_mark || m->n_stack != 1 || !is(m, m->stack[0], K_DICT)) return sd_fail(m->err, SD_E_FORMAT, "%s: it holds no dictionary of tensors", m->path);
    return walk(m, m->stack[0], "", 0);
}

sd_status sd_torch__read(sd_weights *w, int64_t source, const sd_zip *z, sd_zip_member *pickle, sd_err *err)
{
    machine m = {.w = w, .source = source, .path = w->source[source].path, .err = err, .zip = z, .prefix = {pickle->name.p, pickle->name.n - strlen("data.pkl")}};
    char order[MOST_NAME];
    const uint8_t *p;
    void *owned = NULL;
    if (pickle->deflated) return sd_fail(err, SD_E_UNSUPPORTED, "%s: its pickle is packed, which torch never does", m.path);
    sd_status st = sd_zip_bytes(pickle, MOST_PICKLE, &p, &owned, m.path, err);
    if (st) return st;
    if (snprintf(order, sizeof order, "%.*sbyteorder", SD_SLICE(m.prefix)) < (int)sizeof order) {
        const sd_zip_member *b = sd_zip_find(z, order);
        if (b && !b->deflated && !(b->n == 6 && memcmp(b->p, "little", 6) == 0)) return sd_fail(err, SD_E_UNSUPPORTED, "%s: its numbers are not little-endian", m.path);
    }
    sd_cur_init(&m.c, p, (size_t)pickle->n);
    st = sd_alloc(&m.stack, MOST_STACK * sizeof *m.stack, "the stack of a pickle", err);
    if (!st) st = run(&m);
    sd_free(m.stack);
    sd_free(m.node);
    sd_free(m.cell);
    sd_free(m.memo);
    return st;
}
