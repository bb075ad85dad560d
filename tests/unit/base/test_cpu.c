/* Levels cut the flags; what is claimed agrees with what the kernel lists in /proc/cpuinfo. */
#include "base/cpu.h"

#include "base/map.h"
#include "t.h"

static void levels(void **state)
{
    (void)state;
    sd_cpu all, c;
    assert_true(sd_cpu_detect(&all, NULL));
    assert_true(sd_cpu_detect(&c, "auto") && c.flags == all.flags);
    assert_true(sd_cpu_detect(&c, "ref") && c.flags == 0);
    assert_string_equal(sd_cpu_level(&c), "ref");
    assert_int_equal(sd_cpu_detect(&c, "avx2"), (all.flags & SD_CPU_AVX2) != 0);
    if (all.flags & SD_CPU_AVX2) {
        assert_true(sd_cpu_detect(&c, "avx2"));
        assert_int_equal(c.flags, SD_CPU_AVX2);
        assert_string_equal(sd_cpu_level(&c), "avx2");
    }
    assert_int_equal(sd_cpu_detect(&c, "avx512"), (all.flags & SD_CPU_AVX512) != 0);
    if (all.flags & SD_CPU_AVX512) {
        assert_true(sd_cpu_detect(&c, "avx512"));
        assert_int_equal(c.flags, all.flags & ~(uint32_t)SD_CPU_AMX);
        assert_string_equal(sd_cpu_level(&c), "avx512");
    }
    assert_int_equal(sd_cpu_detect(&c, "amx"), (all.flags & SD_CPU_AMX) != 0);
    if (all.flags & SD_CPU_AMX) {
        assert_int_equal(c.flags, all.flags);
        assert_string_equal(sd_cpu_level(&c), "amx");
    }
    assert_false(sd_cpu_detect(&c, "avx1024") || sd_cpu_detect(&c, "") || sd_cpu_detect(&c, "AVX2"));
}

static bool listed(const char *flags, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = flags; (at = strstr(at, name)); at += n)
        if (at[-1] == ' ' && (at[n] == ' ' || at[n] == '\0')) return true;
    return false;
}

static void agrees_with_the_kernel(void **state)
{
    (void)state;
    sd_buf b;
    sd_buf_init(&b, 1 << 24);
    if (sd_file_read(&b, "/proc/cpuinfo", NULL)) t_skip("/proc/cpuinfo is not there");
    const char *text = sd_buf_str(&b), *line = strstr(text, "\nflags"), *name = strstr(text, "\nmodel name");
    if (!line || !name) t_skip("/proc/cpuinfo lists no x86 flags");
    char flags[8192], model[256];
    snprintf(flags, sizeof flags, "%.*s", (int)strcspn(line + 1, "\n"), line + 1);
    name = strchr(name, ':') + 2;
    snprintf(model, sizeof model, "%.*s", (int)strcspn(name, "\n"), name);
    sd_buf_release(&b);
    sd_cpu c;
    assert_true(sd_cpu_detect(&c, NULL));
    bool avx2 = listed(flags, "avx2") && listed(flags, "fma") && listed(flags, "f16c");
    bool avx512 = avx2 && listed(flags, "avx512f") && listed(flags, "avx512bw") && listed(flags, "avx512dq") &&
                  listed(flags, "avx512vl");
    assert_int_equal((c.flags & SD_CPU_AVX2) != 0, avx2);
    assert_int_equal((c.flags & SD_CPU_AVX512) != 0, avx512);
    assert_int_equal((c.flags & SD_CPU_AVX512_VNNI) != 0, avx512 && listed(flags, "avx512_vnni"));
    assert_int_equal((c.flags & SD_CPU_AVX512_BF16) != 0, avx512 && listed(flags, "avx512_bf16"));
    bool amx = (c.flags & SD_CPU_AVX512_VNNI) && (c.flags & SD_CPU_AVX512_BF16) && listed(flags, "amx_tile") &&
               listed(flags, "amx_int8") && listed(flags, "amx_bf16");
    assert_true((c.flags & SD_CPU_AMX) ? amx : true); /* Linux may refuse the registers */
    while (strlen(model) && model[strlen(model) - 1] == ' ') model[strlen(model) - 1] = '\0';
    assert_string_equal(c.name, model);
    assert_true(c.l1d_bytes == 0 || (c.l1d_bytes >= 8 << 10 && c.l1d_bytes <= c.l2_bytes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(levels), T(agrees_with_the_kernel)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
