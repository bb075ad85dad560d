/* What jinja_eval.c (expressions) and jinja_run.c (statements) have of each other. */
#ifndef SD_TEXT_JINJA_EVAL_H
#define SD_TEXT_JINJA_EVAL_H

#include "text/jinja_run.h"

jinja_value sd_jinja__eval(jinja_run *r, int32_t node);
/* A J_CALL; caller: the block of {% call %}, or NULL. */
jinja_value sd_jinja__call(jinja_run *r, const jinja_node *n, const jinja_value *caller);
/* Counts a step; false after an error. */
bool sd_jinja__step(jinja_run *r, int line);

jinja_scope *sd_jinja__scope(jinja_run *r, jinja_scope *up);
jinja_value *sd_jinja__find(jinja_scope *s, sd_slice name); /* NULL: not set */
void sd_jinja__set(jinja_run *r, jinja_scope *s, sd_slice name, jinja_value v);

/* Runs statements in a scope of their own and gives their text. */
jinja_value sd_jinja__rendered(jinja_run *r, int32_t block, jinja_scope *scope);

#endif
