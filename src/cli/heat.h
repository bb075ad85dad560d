/* A heat map on a terminal: cells of background colour, with words where they fit; without colours the levels as digits 0..9 (and -1..-9).
 * Wider than the terminal: in panels of columns, one below the other. */
#ifndef SD_CLI_HEAT_H
#define SD_CLI_HEAT_H

#include "cli/cli.h"
#include "lab/grid.h"

/* Only for a terminal (c->out_tty). Returns the exit code. */
int heat_print(cli *c, const sd_grid *g);

#endif
