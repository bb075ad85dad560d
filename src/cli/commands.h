/* Every command, in the order of `sonde help`: cmd_x stands for the definition cmd_x_def in its own file. main.c makes its table
 * of this list. */
#ifndef SD_CLI_COMMANDS_H
#define SD_CLI_COMMANDS_H

#define CLI_COMMANDS(XX) \
    XX(cmd_info)         \
    XX(cmd_tokenize)     \
    XX(cmd_trace)        \
    XX(cmd_run)          \
    XX(cmd_serve)        \
    XX(cmd_score)        \
    XX(cmd_sweep)        \
    XX(cmd_lens)         \
    XX(cmd_attn)         \
    XX(cmd_patch)        \
    XX(cmd_attribute)    \
    XX(cmd_near)         \
    XX(cmd_capture)      \
    XX(cmd_dict_train)   \
    XX(cmd_dict_eval)    \
    XX(cmd_dict_import)  \
    XX(cmd_dict_export)  \
    XX(cmd_dict_survive) \
    XX(cmd_feature_build) \
    XX(cmd_feature_search) \
    XX(cmd_feature_show) \
    XX(cmd_feature_near) \
    XX(cmd_feature_map) \
    XX(cmd_feature_label) \
    XX(cmd_feature_clusters) \
    XX(cmd_feature_diff) \
    XX(cmd_feature_contrast) \
    XX(cmd_feature_report) \
    XX(cmd_feature_export) \
    XX(cmd_feature_import) \
    XX(cmd_view_bundle)  \
    XX(cmd_organism_make) \
    XX(cmd_organism_demo) \
    XX(cmd_organism_write) \
    XX(cmd_direction_make) \
    XX(cmd_direction_sweep) \
    XX(cmd_direction_show) \
    XX(cmd_direction_topics) \
    XX(cmd_organism_recover) \
    XX(cmd_audit_run) \
    XX(cmd_audit_compare) \
    XX(cmd_audit_report) \
    XX(cmd_audit_damage) \
    XX(cmd_audit_feature) \
    XX(cmd_audit_firmness) \
    XX(cmd_audit_forecast) \
    XX(cmd_audit_tamper) \
    XX(cmd_vocab_train) \
    XX(cmd_tune) \
    XX(cmd_merge) \
    XX(cmd_bench_model)  \
    XX(cmd_bench_kernels) \
    XX(cmd_bench_dict)   \
    XX(cmd_bench_tune)   \
    XX(cmd_bench_store)  \
    XX(cmd_bench_steer)  \
    XX(cmd_doctor)       \
    XX(cmd_completion)   \
    XX(cmd_help)         \
    XX(cmd_version)

#endif
