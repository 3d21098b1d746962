/*
 * An operator in C: the mean brightness of every frame.
 *
 *   gcc -shared -fPIC -O2 -I include -o libbrightness.so brightness.c
 *   sideline describe libbrightness.so
 *   sideline test-operator libbrightness.so
 */
#include <stdlib.h>
#include <string.h>

#include "sideline.h"

static const char DESCRIPTION[] =
    "{\n"
    "  \"magic\": \"SIDELINE\",\n"
    "  \"abi\": [1, 0],\n"
    "  \"compiler\": \"C, " __VERSION__ "\",\n"
    "  \"target\": \"" SIDELINE_TARGET "\",\n"
    "  \"panic\": \"none\",\n"
    "  \"name\": \"brightness\",\n"
    "  \"about\": \"Mean brightness of every frame.\",\n"
    "  \"state_version\": 1,\n"
    "  \"inputs\": [{\"name\": \"frames\", \"type\": \"frame\", \"required\": true}],\n"
    "  \"outputs\": [{\"name\": \"brightness\", \"type\": {\"table\": {\n"
    "    \"name\": \"brightness\", \"about\": \"Brightness of a frame.\", \"columns\": [\n"
    "      {\"name\": \"frames\", \"about\": \"Number of frames of this stream so far.\", \"format\": \"L\"},\n"
    "      {\"name\": \"mean\", \"about\": \"Mean of the first plane, 0 to 255.\", \"format\": \"f\"}]}}}],\n"
    "  \"keys\": [{\"name\": \"step\", \"about\": \"Distance between the bytes that are read.\",\n"
    "    \"kind\": {\"integer\": {\"min\": 1, \"max\": 4096}}, \"default\": 16, \"live\": true, \"range\": [1, 4096]}]\n"
    "}\n";

static sideline_text text(const char *of) {
  sideline_text made = {(const uint8_t *)of, strlen(of)};
  return made;
}

/* State of one stream. */
struct stream {
  char *name;
  size_t name_length;
  uint64_t frames;
  struct stream *next;
};

struct sideline_operator {
  const sideline_host *host;
  size_t step;
  struct stream *streams;
};

static struct stream **find(sideline_operator *self, sideline_text name) {
  struct stream **at = &self->streams;
  while (*at && ((*at)->name_length != name.length || memcmp((*at)->name, name.data, name.length) != 0)) {
    at = &(*at)->next;
  }
  return at;
}

static struct stream *find_or_add(sideline_operator *self, sideline_text name) {
  struct stream **at = find(self, name);
  if (!*at) {
    struct stream *added = calloc(1, sizeof *added);
    if (!added || !(added->name = malloc(name.length + 1))) {
      free(added);
      return NULL;
    }
    memcpy(added->name, name.data, name.length);
    added->name_length = name.length;
    *at = added;
  }
  return *at;
}

static void forget(sideline_operator *self, sideline_text name) {
  struct stream **at = find(self, name), *found = *at;
  if (found) {
    *at = found->next;
    free(found->name);
    free(found);
  }
}

static int32_t fail(sideline_operator *self, sideline_error *error, const char *message) {
  self->host->fail(error, SIDELINE_FAILURE_OTHER, text(message));
  return SIDELINE_ERROR;
}

static size_t read_step(const sideline_host *host) {
  double step = 16;
  host->number(host->context, text("step"), &step);
  return step < 1 ? 1 : (size_t)step;
}

static int32_t make(const sideline_make *arguments, sideline_operator **made, sideline_error *error) {
  sideline_operator *self = calloc(1, sizeof *self);
  if (!self) {
    arguments->host->fail(error, SIDELINE_FAILURE_OTHER, text("out of memory"));
    return SIDELINE_ERROR;
  }
  self->host = arguments->host;
  self->step = read_step(self->host);
  *made = self;
  return SIDELINE_OK;
}

/* One row of the table `brightness`, as an array of the Arrow C Data Interface. */
struct row {
  uint64_t frames;
  float mean;
  const void *buffers[3][2];
  struct ArrowArray columns[2];
  struct ArrowArray *children[2];
};

static void release_column(struct ArrowArray *array) { array->release = NULL; }

static void release_row(struct ArrowArray *array) {
  free(array->private_data);
  array->release = NULL;
}

static int make_row(struct ArrowArray *into, uint64_t frames, float mean) {
  struct row *row = calloc(1, sizeof *row);
  if (!row) {
    return 0;
  }
  row->frames = frames;
  row->mean = mean;
  row->buffers[1][1] = &row->frames;
  row->buffers[2][1] = &row->mean;
  for (int i = 0; i < 2; i++) {
    struct ArrowArray column = {.length = 1, .n_buffers = 2, .buffers = row->buffers[i + 1], .release = release_column};
    row->columns[i] = column;
    row->children[i] = &row->columns[i];
  }
  struct ArrowArray array = {.length = 1, .n_buffers = 1, .buffers = row->buffers[0], .n_children = 2,
                             .children = row->children, .release = release_row, .private_data = row};
  *into = array;
  return 1;
}

/* Number of bytes in a row of the first plane. */
static size_t row_length(const sideline_frame *frame) {
  switch (frame->encoding) {
    case SIDELINE_ENCODING_JPEG:
      return frame->planes[0].length;
    case SIDELINE_ENCODING_RGB8:
    case SIDELINE_ENCODING_BGR8:
      return (size_t)frame->width * 3;
    default:
      return frame->width;
  }
}

static int32_t process(sideline_operator *self, const sideline_call *call, sideline_error *error) {
  const sideline_message *message = call->inputs[0].message;
  if (!message || message->kind != SIDELINE_KIND_FRAME) {
    return fail(self, error, "input `frames` has no frame");
  }
  /* The bytes between the end of a row and the next one are padding. */
  const sideline_frame *frame = message->frame;
  const sideline_plane *plane = &frame->planes[0];
  size_t length = row_length(frame), rows = frame->encoding == SIDELINE_ENCODING_JPEG ? 1 : frame->height;
  uint64_t sum = 0, count = 0;
  for (size_t i = 0; i < length * rows; i += self->step) {
    sum += plane->data[i / length * plane->stride + i % length];
    count++;
  }
  struct stream *stream = find_or_add(self, call->header->stream);
  struct ArrowArray row;
  if (!stream || !make_row(&row, stream->frames + 1, count ? (float)sum / (float)count : 0)) {
    return fail(self, error, "out of memory");
  }
  stream->frames++;
  return self->host->set_table(call->outputs, 0, &row, NULL);
}

static int32_t save(const sideline_operator *self, sideline_text stream, sideline_writer *into, sideline_error *error) {
  (void)error;
  struct stream *found = *find((sideline_operator *)self, stream);
  if (found) {
    self->host->write(into, (const uint8_t *)&found->frames, sizeof found->frames);
  }
  return SIDELINE_OK;
}

static int32_t load(sideline_operator *self, sideline_text stream, const uint8_t *data, size_t length,
                    sideline_error *error) {
  if (length == 0) {
    forget(self, stream);
    return SIDELINE_OK;
  }
  struct stream *found = length == sizeof found->frames ? find_or_add(self, stream) : NULL;
  if (!found) {
    return fail(self, error, "a saved state has 8 bytes");
  }
  memcpy(&found->frames, data, sizeof found->frames);
  return SIDELINE_OK;
}

static int32_t reconfigure(sideline_operator *self, sideline_text values, sideline_error *error) {
  (void)values;
  (void)error;
  self->step = read_step(self->host);
  return SIDELINE_OK;
}

static void drop(sideline_operator *self) {
  while (self->streams) {
    struct stream *next = self->streams->next;
    free(self->streams->name);
    free(self->streams);
    self->streams = next;
  }
  free(self);
}

const sideline_plugin_t *sideline_plugin(void) {
  static sideline_plugin_t plugin = {
      .size = sizeof plugin,
      .magic = SIDELINE_MAGIC,
      .abi_major = SIDELINE_ABI_MAJOR,
      .abi_minor = SIDELINE_ABI_MINOR,
      .make = make,
      .process = process,
      .save = save,
      .load = load,
      .reconfigure = reconfigure,
      .drop = drop,
  };
  plugin.description = text(DESCRIPTION);
  return &plugin;
}
