/* Any bytes as YAML settings. */
#include "t_fuzz.h"
#include "file/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    sd_err err = {0};
    json_t *j = NULL;
    const sd_status st = sd_yaml_parse(&j, (const char *)p, n, "fuzz.yaml", &err);
    if (st) SD_ASSERT(!j && err.code == st && err.msg[0]);
    json_decref(j);
    return 0;
}

T_FUZZ_MAIN("fuzz_yaml")
