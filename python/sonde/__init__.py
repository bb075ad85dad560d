"""sonde for Python: open a model, generate with features turned up, look at and edit what it computes.

    import sonde
    model = sonde.load("model.gguf")
    model.generate("The bridge", n=40, steer=[{"feature": {"dict": "dict/", "index": 7}, "value": 0.5}])["text"]
    logits, cache = model.run_with_cache("The bridge", ["resid_post.12", "blocks.3.attn.hook_pattern"])
    with model.hook("resid_post.12", lambda x, act: x.__imul__(0.5)):
        model.forward("The bridge")

Site names are sonde's ("resid_post.12"), TransformerLens's ("blocks.12.hook_resid_post") or transformers' modules
("model.layers.12", "model.layers.12.mlp", "model.layers.12.self_attn.o_proj.input"). Arrays are numpy's, float32; what a hook sees
is the engine's own memory, valid during the call.
"""
import contextlib
import ctypes as C
import json
import os
import sys

import numpy as np

__all__ = ["load", "Model", "SondeError", "version"]


class SondeError(Exception):
    """What the library refused: the sentence, with `.hint` (may be empty) and `.status` ("E_ARG", ..)."""

    def __init__(self, message, hint="", status=""):
        super().__init__(message + (f" (hint: {hint})" if hint else ""))
        self.hint, self.status = hint, status


class _Err(C.Structure):
    _fields_ = [("code", C.c_int), ("msg", C.c_char * 768), ("hint", C.c_char * 256)]


class _Mat(C.Structure):
    _fields_ = [("data", C.POINTER(C.c_float)), ("rows", C.c_int64), ("cols", C.c_int64), ("ld", C.c_int64)]

    def array(self):
        if not self.rows or not self.cols:
            return np.zeros((self.rows, self.cols), np.float32)
        flat = np.ctypeslib.as_array(self.data, ((self.rows - 1) * self.ld + self.cols,))
        return np.lib.stride_tricks.as_strided(flat, (self.rows, self.cols), (4 * self.ld, 4))


class _Site(C.Structure):
    _fields_ = [("kind", C.c_int), ("layer", C.c_int)]


class _Act(C.Structure):
    _fields_ = [("site", _Site), ("x", _Mat), ("pos0", C.c_int64), ("tok", C.POINTER(C.c_int32))]


_HOOK = C.CFUNCTYPE(C.c_int, C.c_void_p, C.POINTER(_Act), C.POINTER(_Err))
_TOKEN = C.CFUNCTYPE(None, C.c_void_p, C.c_int, C.c_int32)


class _Hook(C.Structure):
    _fields_ = [("name", C.c_char_p), ("at", C.POINTER(_Site)), ("n_at", C.c_int), ("mode", C.c_int), ("fn", _HOOK), ("self", C.c_void_p)]


class _Segment(C.Structure):
    _fields_ = [("s", C.c_void_p), ("tok", C.POINTER(C.c_int32)), ("n", C.c_int64), ("want", C.c_int), ("logits", _Mat)]


class _Env(C.Structure):
    _fields_ = [("data_dir", C.c_char_p), ("cache_dir", C.c_char_p), ("on_token", _TOKEN), ("self", C.c_void_p)]


class _ExecOpt(C.Structure):
    _fields_ = [("cpu", C.c_char_p), ("n_threads", C.c_int)]


class _ModelOpt(C.Structure):
    _fields_ = [("mode", C.c_int), ("max_layer", C.c_int), ("no_head", C.c_bool), ("keep_head", C.c_bool), ("n_ctx", C.c_int64),
                ("views", C.c_bool), ("kv", C.c_int), ("memory_bytes", C.c_size_t)]


class _SessionOpt(C.Structure):
    _fields_ = [("n_ctx", C.c_int64), ("kv", C.c_int)]


class _RunnerOpt(C.Structure):
    _fields_ = [("max_rows", C.c_int64), ("max_logit_rows", C.c_int64), ("n_ctx", C.c_int64), ("stop", C.c_void_p), ("self", C.c_void_p)]


def _find():
    """$SONDE_LIBRARY, the library beside this file, the one of a source tree, the system's."""
    here = os.path.dirname(os.path.abspath(__file__))
    tree = os.path.join(os.path.dirname(os.path.dirname(here)), "out", "release", "libsonde.so")
    for path in (os.environ.get("SONDE_LIBRARY"), os.path.join(here, "libsonde.so"), tree):
        if path and os.path.exists(path):
            return path
    return "libsonde.so.0"


try:
    _lib = C.CDLL(_find())
except OSError as e:
    raise ImportError(f"libsonde.so was not found: {e}. Build it with make, or name it in SONDE_LIBRARY.") from e

_P, _Z = C.c_void_p, C.c_size_t
_I32P = C.POINTER(C.c_int32)
for _name, _args in {
    "sd_exec_new": (C.POINTER(_P), C.POINTER(_ExecOpt)),
    "sd_model_open": (C.POINTER(_P), _P, C.c_char_p, C.POINTER(_ModelOpt)),
    "sd_hub_model": (C.c_char_p, _Z, C.c_char_p, C.c_char_p),
    "sd_model_json": (_P, C.POINTER(_P), C.POINTER(_Z)),
    "sd_text_encode": (_P, C.c_char_p, _Z, C.c_bool, C.POINTER(_I32P), C.POINTER(C.c_int64)),
    "sd_text_decode": (_P, _I32P, C.c_int64, C.c_bool, C.POINTER(_P), C.POINTER(_Z)),
    "sd_text_chat": (_P, C.c_char_p, _Z, C.c_bool, C.POINTER(_P), C.POINTER(_Z)),
    "sd_generate": (_P, _P, C.c_char_p, C.POINTER(_Env), C.POINTER(_P), C.POINTER(_Z)),
    "sd_model_site_parse": (_P, C.POINTER(_Site), C.c_char_p, _Z),
    "sd_model_site_cols": (_P, _Site, C.POINTER(C.c_int64)),
    "sd_session_new": (C.POINTER(_P), _P, C.POINTER(_SessionOpt)),
    "sd_session_attach": (_P, C.POINTER(_Hook), C.POINTER(C.c_int)),
    "sd_runner_new": (C.POINTER(_P), _P, _P, C.POINTER(_RunnerOpt)),
    "sd_runner_step": (_P, C.POINTER(_Segment), C.c_int, C.c_int),
}.items():
    getattr(_lib, _name).argtypes = (*_args, C.POINTER(_Err))
    getattr(_lib, _name).restype = C.c_int
for _name, _args in {
    "sd_exec_free": (_P,),
    "sd_model_close": (_P,),
    "sd_session_free": (_P,),
    "sd_session_detach": (_P, C.c_int),
    "sd_runner_free": (_P,),
    "sd_release": (_P,),
}.items():
    getattr(_lib, _name).argtypes = _args
    getattr(_lib, _name).restype = None
_lib.sd_version.restype = _lib.sd_status_name.restype = C.c_char_p

_MODES = {None: 0, "faithful": 1, "bf16": 2, "fast": 3}
_PATTERN = "attn_pattern"


def version():
    """The library's version."""
    return _lib.sd_version().decode()


def _call(name, *args):
    err = _Err()
    if getattr(_lib, name)(*args, C.byref(err)):
        raise SondeError(err.msg.decode(errors="replace"), err.hint.decode(errors="replace"), _lib.sd_status_name(err.code).decode())


def _text(name, *args):
    """The text that a library function gives, freed."""
    out, n = _P(), _Z()
    _call(name, *args, C.byref(out), C.byref(n))
    try:
        return C.string_at(out, n.value)
    finally:
        _lib.sd_release(out)


def _folder(variable, rest):
    """sonde's folder under $XDG_.., as the program has it."""
    base = os.environ.get(variable, "")
    return os.fsencode(os.path.join(base if base.startswith("/") else os.path.expanduser("~/" + rest), "sonde"))


def _find_model(path):
    """What the library opens: a path as it is, ORG/NAME through the local Hugging Face cache, an adapter with its model."""
    env, join = os.environ.get, os.path.join
    home = env("HF_HOME") or join(env("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface")  # as huggingface_hub
    hub = env("HF_HUB_CACHE") or env("HUGGINGFACE_HUB_CACHE") or join(home, "hub")
    out = C.create_string_buffer(2100)
    _call("sd_hub_model", out, len(out), os.fsencode(hub), os.fsencode(path))
    return out.value


def _plain(x):
    """What json does not know: arrays and numbers of numpy."""
    if isinstance(x, (np.ndarray, np.generic)):
        return x.tolist()
    raise TypeError(f"a request holds numbers, texts, lists and dictionaries, not {type(x).__name__}")


class _Kept:
    """The logits of a runner, freed with the last array that shows them."""

    def __init__(self, mat, runner):
        self.runner = runner
        self.__array_interface__ = {"data": (C.cast(mat.data, _P).value, False), "shape": (mat.rows, mat.cols), "strides": (4 * mat.ld, 4), "typestr": "<f4", "version": 3}

    def __del__(self):
        if not sys.is_finalizing():
            _lib.sd_runner_free(self.runner)


class Act:
    """Where a hook is: `site` as it was asked for, `pos0` of the first row, `tokens` of the rows."""

    __slots__ = ("site", "pos0", "tokens")

    def __init__(self, site, pos0, tokens):
        self.site, self.pos0, self.tokens = site, pos0, tokens


class Model:
    """An opened model. Not for use by several threads at once."""

    def __init__(self, path, mode=None, threads=None, cpu=None, n_ctx=0):
        if mode not in _MODES:
            raise ValueError(f"mode is one of {', '.join(m for m in _MODES if m)}")
        self._exec, self._model, self._hooks = _P(), _P(), []
        _call("sd_exec_new", C.byref(self._exec), _ExecOpt(cpu.encode() if cpu else None, threads or 0))
        try:
            opt = _ModelOpt(mode=_MODES[mode], n_ctx=n_ctx)
            _call("sd_model_open", C.byref(self._model), self._exec, os.fsencode(_find_model(path)), opt)
        except SondeError:
            self.close()
            raise
        #: the blueprint: arch, n_layer, d_model, n_vocab, mode, ..
        self.config = json.loads(_text("sd_model_json", self._model))

    def close(self):
        """Frees the model now instead of when it is collected."""
        for name, free in (("_model", _lib.sd_model_close), ("_exec", _lib.sd_exec_free)):
            handle = self.__dict__.pop(name, None)
            if handle:
                free(handle)

    def __getattr__(self, name):  # asked only for what is not there
        if name in ("_model", "_exec"):
            raise ValueError("the model is closed")
        raise AttributeError(f"'Model' object has no attribute '{name}'")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if not sys.is_finalizing():
            self.close()

    def __repr__(self):
        c = self.config
        return f"<sonde.Model {c['name']}: {c['arch']}, {c['n_layer']} layers, width {c['d_model']}, {c['mode']}>"

    # ---- text ----

    def encode(self, text, special=True):
        """Ids of a text. special: with BOS where the model wants one, special tokens read as such."""
        ids, n, data = _I32P(), C.c_int64(), text.encode()
        _call("sd_text_encode", self._model, data, len(data), special, C.byref(ids), C.byref(n))
        try:
            return list(ids[: n.value])
        finally:
            _lib.sd_release(ids)

    def decode(self, ids, special=False):
        """The text of ids; bytes that are cut become U+FFFD."""
        v = (C.c_int32 * len(ids))(*ids)
        return _text("sd_text_decode", self._model, v, len(ids), special).decode(errors="replace")

    def chat(self, messages, add_generation_prompt=True):
        """Messages rendered by the model's chat template."""
        data = json.dumps(messages).encode()
        return _text("sd_text_chat", self._model, data, len(data), add_generation_prompt).decode()

    def generate(self, prompt, n=128, steer=None, on_token=None, **more):
        """Generates from a text, a list of messages or a list of ids. more: temp, top_k, top_p, min_p, seed, compare, parse_special.

        Gives what `sonde run --json` prints: "text", "tokens", "timings", "applied", ..
        on_token(lane, id) is called for each token; lane 1 is the steered one.
        """
        kind = "prompt" if isinstance(prompt, str) else "messages" if len(prompt) and isinstance(prompt[0], dict) else "ids"
        request = {kind: prompt if kind != "ids" else [int(i) for i in prompt], "n": n, **more}
        if steer:
            request["steer"] = [steer] if isinstance(steer, dict) else list(steer)
        data = json.dumps(request, default=_plain).encode()
        failed = []

        def step(_, lane, token):
            try:
                on_token(lane, token)
            except BaseException as e:  # noqa: BLE001  it is raised again below
                failed.append(e)

        env = _Env(_folder("XDG_DATA_HOME", ".local/share"), _folder("XDG_CACHE_HOME", ".cache"), _TOKEN(step) if on_token else _TOKEN())
        out = json.loads(_text("sd_generate", self._exec, self._model, data, env))
        if failed:
            raise failed[0]
        return out

    # ---- inside ----

    def _site(self, name):
        site, text = _Site(), name.encode()
        _call("sd_model_site_parse", self._model, C.byref(site), text, len(text))
        return site

    @contextlib.contextmanager
    def hook(self, site, fn, edit=True):
        """Inside the `with`, forward and run_with_cache call fn(x, act) at the site.

        x [rows, cols] (attention patterns: [heads, rows, positions]) is the engine's memory: change it in place, or return an
        array to put there. With edit=False it may only be read.
        """
        entry = (site, self._site(site), fn, edit)
        self._hooks.append(entry)
        try:
            yield self
        finally:
            self._hooks.remove(entry)

    def forward(self, prompt, logits="all"):
        """Logits [n, V] of a text or ids; logits="last" gives [1, V]."""
        return self._run(prompt, [], logits)[0]

    def run_with_cache(self, prompt, names, logits="all"):
        """Logits, and a dictionary with the array of every named site, under the names given.

        The logits are the engine's own memory. A site is written once, into its array, as the engine passes it: its scratch is the next layer's.

        logits: "all", "last" or None; with None the run ends at the last site that is wanted.
        """
        return self._run(prompt, [names] if isinstance(names, str) else list(names), logits)

    def _run(self, prompt, names, logits):
        ids = self.encode(prompt) if isinstance(prompt, str) else [int(i) for i in prompt]
        if not ids:
            raise SondeError("the prompt has no tokens", status="E_ARG")
        cache, failed, keep = {}, [], []
        session, runner = _P(), _P()
        n = len(ids)

        def reader(name, site):
            def read(x, act):
                cache[name] = x.copy()

            return name, site, read, False

        def attach(name, site, fn, edit):
            def call(_, act, err):
                try:
                    a = act.contents
                    x = a.x.array()
                    rows = a.x.rows
                    if name.startswith(_PATTERN) or "hook_pattern" in name:
                        rows = a.x.rows // self.config["n_head"]
                        x = x.reshape(self.config["n_head"], rows, a.x.cols)
                    if not edit:
                        x.flags.writeable = False
                    tokens = np.ctypeslib.as_array(a.tok, (rows,)) if a.tok else np.zeros(0, np.int32)
                    new = fn(x, Act(name, a.pos0, tokens))
                    if edit and new is not None and new is not x:
                        x[...] = new
                    return 0
                except BaseException as e:  # noqa: BLE001  it is raised again below
                    failed.append(e)
                    err.contents.code = 1
                    err.contents.msg = b"a hook failed"
                    return 1

            c = _HOOK(call)
            h = _Hook(name.encode(), C.pointer(site), 1, 1 if edit else 0, c, None)
            keep.append((c, h))
            _call("sd_session_attach", session, C.byref(h), C.byref(C.c_int()))

        sites, (final, said) = [self._site(name) for name in names], (self._site(name).kind for name in ("final_norm", "logits"))
        last, rows = -1, {None: 0, "last": 1, "all": n}[logits]
        if any(site.kind == said for site in sites):  # the site has all rows, whatever is given back
            rows = n
        elif not rows and names and not any(site.kind == final for site in sites):
            last = max(site.layer for site in sites)
        want = 0 if not rows else 2 if rows == n else 1
        try:
            _call("sd_session_new", C.byref(session), self._model, _SessionOpt(n))
            for entry in self._hooks:
                attach(*entry)
            for name, site in zip(names, sites):
                attach(*reader(name, site))
            _call("sd_runner_new", C.byref(runner), self._exec, self._model, _RunnerOpt(n, max(rows, 1), n))
            tokens = (C.c_int32 * n)(*ids)
            seg = _Segment(session, tokens, n, want)
            try:
                _call("sd_runner_step", runner, C.byref(seg), 1, last)
            except SondeError:
                if failed:
                    raise failed[0] from None
                raise
            kept = None
            if logits:  # the runner's own memory, which lives as long as the array
                kept, runner = np.asarray(_Kept(seg.logits, runner)), None
                kept = kept[-1:] if logits == "last" else kept
            return kept, cache
        finally:
            if runner:
                _lib.sd_runner_free(runner)
            if session:
                _lib.sd_session_free(session)


def load(path, mode=None, threads=None, cpu=None, n_ctx=0):
    """Opens a GGUF file, a Hugging Face folder or ORG/NAME of the local Hugging Face cache, with a PEFT adapter as MODEL+ADAPTER.

    mode: "faithful" (default), "bf16" or "fast".
    """
    return Model(path, mode, threads, cpu, n_ctx)
