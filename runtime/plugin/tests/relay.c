/* Sends on the frames of its input. Its name says in what way: `lent`, `bare`, `retained` or `released`. */
#include <string.h>

#include "sideline.h"

#ifndef WAY
#define WAY "lent"
#endif

static const char DESCRIPTION[] =
    "{\"magic\": \"SIDELINE\", \"abi\": [1, 0], \"target\": \"" SIDELINE_TARGET "\", \"panic\": \"none\",\n"
    " \"name\": \"" WAY "\", \"about\": \"Sends frames on.\",\n"
    " \"inputs\": [{\"name\": \"frames\", \"type\": \"frame\", \"required\": true}],\n"
    " \"outputs\": [{\"name\": \"frames\", \"type\": \"frame\"}]}\n";

struct sideline_operator {
  const sideline_host *host;
};

static sideline_operator made;

static int32_t make(const sideline_make *arguments, sideline_operator **operator, sideline_error *error) {
  (void)error;
  made.host = arguments->host;
  *operator = &made;
  return SIDELINE_OK;
}

static int32_t process(sideline_operator *self, const sideline_call *call, sideline_error *error) {
  (void)error;
  sideline_frame sent = *call->inputs[0].message->frame;
  if (strcmp(WAY, "bare") == 0) {
    sent.owner = NULL;
    sent.retain = NULL;
    sent.release = NULL;
  } else if (strcmp(WAY, "retained") == 0) {
    sent.owner = sent.retain(sent.owner);
  } else if (strcmp(WAY, "released") == 0) {
    sent.release(sent.owner);
  }
  return self->host->set_frame(call->outputs, 0, &sent);
}

static void drop(sideline_operator *self) { (void)self; }

const sideline_plugin_t *sideline_plugin(void) {
  static sideline_plugin_t plugin = {.size = sizeof plugin, .magic = SIDELINE_MAGIC, .abi_major = SIDELINE_ABI_MAJOR,
                                     .make = make, .process = process, .drop = drop};
  plugin.description.data = (const uint8_t *)DESCRIPTION;
  plugin.description.length = sizeof DESCRIPTION - 1;
  return &plugin;
}
