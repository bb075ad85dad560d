/* sonde: open language models, find features, steer. One header a noun; this one is all of them. */
#ifndef SONDE_H
#define SONDE_H

#include "sonde/status.h"
#include "sonde/mat.h"
#include "sonde/site.h"
#include "sonde/model.h"
#include "sonde/dict.h"
#include "sonde/text.h"

#endif
