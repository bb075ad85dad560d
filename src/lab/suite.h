/* Suites: lists of prompts that a model is asked, read by the names of columns from the files the field publishes.
 *
 *   prompt     prompt, goal, instruction (with input), question, forbidden_prompt, behavior, messages (last user turn), turns (first)
 *   id         id, index, behaviorid, question_id; else the row's number          category  category, semanticcategory, risk_area, type, tags
 *   harmful?   label (safe, unsafe), prompt_safe; else what the columns and the file's name say; else the caller must say
 *   choices    choices + answer; TruthfulQA's mc1_targets, or best answer + incorrect answers: a multiple-choice question, scored by likelihood (TruthfulQA's by the sum)
 *
 * .csv (RFC 4180), .jsonl, .json (a list of objects, or safety-tuned-llamas' {"instructions": [..]}). Names in any case. A file without
 * a prompt column is SD_E_FORMAT with the columns it has. Rows that need a context we do not read are left out and counted. */
#ifndef SD_LAB_SUITE_H
#define SD_LAB_SUITE_H

#include "base/hash.h"
#include "base/json.h"

typedef enum sd_axis { SD_AXIS_UNKNOWN, SD_AXIS_HARMFUL, SD_AXIS_HARMLESS, SD_AXIS_CHOICE, SD_N_AXES } sd_axis;
const char *sd_axis_name(sd_axis a); /* "harmful", "harmless", "choice" */

typedef struct sd_prompt {
    char *id, *text, *category;  /* category "" when there is none */
    sd_axis axis;
    char **choice;               /* [n_choice], CHOICE only */
    int n_choice, answer;
    bool by_sum;                 /* the likeliest choice by the sum over its tokens, as TruthfulQA's MC1 has it; else by their mean */
    uint64_t key;                /* hash of the text: the same prompt in two runs */
} sd_prompt;

typedef struct sd_suite {
    char name[64], path[1024], sha256[65]; /* name: the file's, without folder and ending */
    sd_prompt *v;
    int64_t n, cap, n_skipped;
} sd_suite; /* owns its strings */

/* spec: PATH, or AXIS=PATH where AXIS is harmful, harmless or choice and wins over what the file says. */
sd_status sd_suite_open(sd_suite *out, const char *spec, sd_err *err);
void sd_suite_release(sd_suite *s);
/* Keeps n prompts chosen by (seed, "suite"), spread over axes in the proportion they have, in the file's order. */
void sd_suite_sample(sd_suite *s, int64_t n, uint64_t seed);
/* Internal: takes strings over (also on failure); used by readers and built-in suites. */
sd_status sd_suite__push(sd_suite *s, sd_prompt p, sd_err *err);
void sd_prompt__release(sd_prompt *p);
/* Internal: one row as an object of column -> value. row counts from 1. */
sd_status sd_suite__row(sd_suite *s, json_t *row, int64_t number, sd_axis forced, sd_err *err);

#endif
