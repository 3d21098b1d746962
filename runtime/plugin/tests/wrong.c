/* An operator that breaks the interface where a macro says so: a table of functions with gaps, nulls, problems without a key. */
#include <string.h>

#include "sideline.h"

#ifndef KEYS
#define KEYS ""
#endif

static const char DESCRIPTION[] =
    "{\"magic\": \"SIDELINE\", \"abi\": [1, 0], \"target\": \"" SIDELINE_TARGET "\", \"panic\": \"none\",\n"
    " \"name\": \"wrong\", \"about\": \"Breaks the interface.\",\n"
    " \"inputs\": [{\"name\": \"frames\", \"type\": \"frame\", \"required\": true}],\n"
    " \"outputs\": [{\"name\": \"numbers\", \"type\": {\"table\": {\"name\": \"wrong\", \"columns\": [\n"
    "   {\"name\": \"number\", \"format\": \"L\"}]}}}], \"keys\": [" KEYS "]}\n";

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

static void release(struct ArrowArray *array) { array->release = NULL; }

static void keep(struct ArrowSchema *schema) { (void)schema; }

/* Sends two rows, the second of which is null, with a schema that allows it. */
static int32_t process(sideline_operator *self, const sideline_call *call, sideline_error *error) {
  static const uint64_t numbers[2] = {7, 8};
  static const uint8_t bitmap = 1;
  static const void *buffers[2] = {&bitmap, numbers}, *none[1];
  static struct ArrowArray column;
  static struct ArrowArray *columns[1] = {&column};
  static struct ArrowSchema child = {.format = "L", .name = "number", .flags = ARROW_FLAG_NULLABLE, .release = keep};
  static struct ArrowSchema *children[1] = {&child};
  static const struct ArrowSchema schema = {.format = "+s", .name = "", .n_children = 1, .children = children, .release = keep};
  struct ArrowArray made = {.length = 2, .null_count = NULLS, .n_buffers = 2, .buffers = buffers, .release = release};
  struct ArrowArray table = {.length = 2, .n_buffers = 1, .buffers = none, .n_children = 1, .children = columns, .release = release};
  (void)error;
  column = made;
  return self->host->set_table(call->outputs, 0, &table, &schema);
}

static void drop(sideline_operator *self) { (void)self; }

static int32_t save(const sideline_operator *self, sideline_text stream, sideline_writer *into, sideline_error *error) {
  (void)self, (void)stream, (void)into, (void)error;
  return SIDELINE_OK;
}

static int32_t load(sideline_operator *self, sideline_text stream, const uint8_t *data, size_t length, sideline_error *error) {
  (void)self, (void)stream, (void)data, (void)length, (void)error;
  return SIDELINE_OK;
}

static int32_t copy(sideline_operator *self, sideline_text stream, sideline_error *error) {
  (void)self, (void)stream, (void)error;
  return SIDELINE_OK;
}

static int32_t check(const sideline_host *host, sideline_text values, sideline_writer *problems, sideline_error *error) {
  static const char LINES[] = "step: it is odd\nthere is no camera\n\nhint: plug it in\n";
  (void)values, (void)error;
  host->write(problems, (const uint8_t *)LINES, sizeof LINES - 1);
  return SIDELINE_OK;
}

const sideline_plugin_t *sideline_plugin(void) {
  static sideline_plugin_t plugin = {.size = sizeof plugin, .magic = SIDELINE_MAGIC, .abi_major = SIDELINE_ABI_MAJOR,
                                     .make = make, .process = process, .drop = drop};
  plugin.description.data = (const uint8_t *)DESCRIPTION;
  plugin.description.length = sizeof DESCRIPTION - 1;
  /* Every function is used, so that no compiler warns. */
  plugin.save = save, plugin.load = load, plugin.snapshot = copy, plugin.roll_back = copy, plugin.check = check;
  GAPS;
  return &plugin;
}
