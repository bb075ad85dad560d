/* Sessions, hooks and runners as the folders to the right see them. The declarations are public; the rule to keep in
 * mind: linear layers see all rows of a batch at once; attention, positions and hooks are a session's own. */
#ifndef SD_MODEL_SESSION_H
#define SD_MODEL_SESSION_H

#include "model/model.h"

#endif
