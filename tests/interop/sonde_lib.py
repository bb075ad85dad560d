"""The library through ctypes, for the interop scripts: a dictionary opened from any format, its features and reconstruction of some rows."""
import ctypes as C
import numpy as np


class Mat(C.Structure):
    _fields_ = [("data", C.POINTER(C.c_float)), ("rows", C.c_int64), ("cols", C.c_int64), ("ld", C.c_int64)]


class Err(C.Structure):
    _fields_ = [("code", C.c_int), ("msg", C.c_char * 768), ("hint", C.c_char * 256)]


class Codes(C.Structure):
    _fields_ = [("n", C.c_int64), ("nnz", C.c_int64), ("cap_n", C.c_int64), ("cap_nnz", C.c_int64),
                ("row_ptr", C.POINTER(C.c_int64)), ("idx", C.POINTER(C.c_int32)), ("val", C.POINTER(C.c_float))]


def mat(a):
    return Mat(a.ctypes.data_as(C.POINTER(C.c_float)), a.shape[0], a.shape[1], a.shape[1])


class Sonde:
    def __init__(self, path):
        self.lib = C.CDLL(path)
        self.lib.sd_dict_threshold.restype = C.c_float
        self.lib.sd_dict_site_name.restype = self.lib.sd_dict_site_out_name.restype = C.c_void_p
        self.ex = C.c_void_p()
        self.check(self.lib.sd_exec_new(C.byref(self.ex), None, C.byref(self.err())))

    def err(self):
        self.e = Err()
        return self.e

    def check(self, st):
        if st: raise SystemExit(f"sonde: {self.e.msg.decode()}")

    def save(self, dir, to):
        d = C.c_void_p()
        self.check(self.lib.sd_dict_open(C.byref(d), dir.encode(), C.byref(self.err())))
        self.check(self.lib.sd_dict_save(d, to.encode(), C.byref(self.err())))
        self.lib.sd_dict_free(d)

    def sites(self, dir):
        """where it reads, where it writes"""
        d = C.c_void_p()
        self.check(self.lib.sd_dict_open(C.byref(d), dir.encode(), C.byref(self.err())))
        names = [C.cast(f(d), C.c_char_p).value.decode() for f in (self.lib.sd_dict_site_name, self.lib.sd_dict_site_out_name)]
        self.lib.sd_dict_free(d)
        return tuple(names)

    def run(self, dir, x, m, out=None):
        """features [n, m] and reconstruction [n, out]"""
        d, z, y = C.c_void_p(), Codes(), np.zeros((len(x), out or x.shape[1]), np.float32)
        self.check(self.lib.sd_dict_open(C.byref(d), dir.encode(), C.byref(self.err())))
        self.check(self.lib.sd_dict_encode(C.byref(z), self.ex, d, mat(x), C.byref(self.err())))
        self.lib.sd_dict_reconstruct(mat(y), self.ex, d, C.byref(z), mat(x))
        f = np.zeros((len(x), m), np.float32)
        for r in range(len(x)):
            for e in range(z.row_ptr[r], z.row_ptr[r + 1]): f[r, z.idx[e]] = z.val[e]
        self.lib.sd_codes_release(C.byref(z))
        self.lib.sd_dict_free(d)
        return f, y
