/*
 * sideline.h: binary interface between Sideline (the host) and an operator in a shared library (the plugin).
 *
 * This is the crate sideline-abi in C; a test keeps the two equal. docs/plugin-abi.md explains the interface with an example.
 *
 * - A plugin exports one function: const sideline_plugin_t *sideline_plugin(void).
 * - Every struct begins with its size in bytes, as its writer knows it, and grows only at its end. Items of an array are `size`
 *   bytes apart. sideline_text, sideline_plane and the structs of the Arrow C Data Interface are fixed and have no size.
 * - Text is UTF-8 without a terminating zero, and borrowed for the call, except the description.
 * - Functions of a plugin return SIDELINE_OK, or SIDELINE_ERROR after `fail`. One operator is called by one thread at a time.
 */
#ifndef SIDELINE_H
#define SIDELINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SIDELINE_MAGIC UINT64_C(0x454e494c45444953) /* the bytes "SIDELINE" */
#define SIDELINE_ABI_MAJOR 1
#define SIDELINE_ABI_MINOR 0

/* Target of this compilation, for the description. */
#if defined(__x86_64__) || defined(_M_X64)
#define SIDELINE_ARCH "x86_64"
#elif defined(__aarch64__) || defined(_M_ARM64)
#define SIDELINE_ARCH "aarch64"
#else
#define SIDELINE_ARCH "unknown"
#endif
#if defined(__linux__)
#define SIDELINE_OS "linux"
#elif defined(__APPLE__)
#define SIDELINE_OS "macos"
#elif defined(_WIN32)
#define SIDELINE_OS "windows"
#else
#define SIDELINE_OS "unknown"
#endif
#define SIDELINE_TARGET SIDELINE_ARCH "-" SIDELINE_OS

/* Results of calls. */
#define SIDELINE_OK 0
#define SIDELINE_ERROR 1
#define SIDELINE_PANIC 2

/* Kinds of messages. */
#define SIDELINE_KIND_TABLE 1
#define SIDELINE_KIND_FRAME 2
#define SIDELINE_KIND_SKIPPED 3
#define SIDELINE_KIND_END 4

/* Encodings of frames. */
#define SIDELINE_ENCODING_I420 0
#define SIDELINE_ENCODING_NV12 1
#define SIDELINE_ENCODING_RGB8 2
#define SIDELINE_ENCODING_BGR8 3
#define SIDELINE_ENCODING_JPEG 4

/* Color matrices. */
#define SIDELINE_MATRIX_BT601 0
#define SIDELINE_MATRIX_BT709 1

/* Modes of a run. */
#define SIDELINE_MODE_LIVE 0
#define SIDELINE_MODE_COMPLETE 1

/* Kinds of failures. */
#define SIDELINE_FAILURE_CONFIG 1
#define SIDELINE_FAILURE_MODEL 2
#define SIDELINE_FAILURE_INPUT 3
#define SIDELINE_FAILURE_OUTPUT 4
#define SIDELINE_FAILURE_GPU 5
#define SIDELINE_FAILURE_OTHER 6

/* Levels of the log. */
#define SIDELINE_LOG_ERROR 1
#define SIDELINE_LOG_WARN 2
#define SIDELINE_LOG_INFO 3
#define SIDELINE_LOG_DEBUG 4

/* Arrow C Data Interface, https://arrow.apache.org/docs/format/CDataInterface.html. */
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
  const char *format;
  const char *name;
  const char *metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema **children;
  struct ArrowSchema *dictionary;
  void (*release)(struct ArrowSchema *);
  void *private_data;
};

struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void **buffers;
  struct ArrowArray **children;
  struct ArrowArray *dictionary;
  void (*release)(struct ArrowArray *);
  void *private_data;
};

#endif /* ARROW_C_DATA_INTERFACE */

/* Text in UTF-8, without a terminating zero. */
typedef struct sideline_text {
  const uint8_t *data; /* may be null if length is 0 */
  size_t length;
} sideline_text;

/* Plane of a frame: rows of bytes, `stride` apart. */
typedef struct sideline_plane {
  const uint8_t *data;
  size_t length; /* bytes, padding included */
  size_t stride; /* bytes */
} sideline_plane;

/* Video frame. Its planes must not be written to. */
typedef struct sideline_frame {
  size_t size;
  uint32_t width;
  uint32_t height;
  uint32_t encoding;      /* SIDELINE_ENCODING_... */
  uint32_t matrix;        /* SIDELINE_MATRIX_... */
  uint32_t is_full_range; /* 1 for 0..255, 0 for video range */
  uint32_t plane_count;
  sideline_plane planes[3];
  void *owner;
  /* Makes the frame of an input outlive its call: the owner that it returns has to be given to `release` once, or sent. */
  void *(*retain)(void *owner);
  /* Releases a retained frame, or one that a plugin has sent; from any thread. No effect on a frame that is only lent. */
  void (*release)(void *owner);
} sideline_frame;

/* Identity and times of a frame. */
typedef struct sideline_header {
  size_t size;
  sideline_text stream;
  uint64_t frame;      /* number, from 0 */
  int64_t pts;         /* media time, ns */
  int64_t captured_at; /* ns since 1970; never goes into a table */
  uint64_t dropped;    /* frames of the stream that were dropped before this one */
  uint32_t session;    /* number of the connection; a session begins where it differs from the frame before */
  uint32_t is_closing; /* 1 after the last frame of the stream */
} sideline_header;

/* Message on an input. */
typedef struct sideline_message {
  size_t size;
  uint32_t kind; /* SIDELINE_KIND_... */
  uint32_t reserved;
  const sideline_header *header;
  uint64_t number;
  uint64_t end_frames;              /* KIND_END: frames of the stream */
  sideline_text reason;             /* KIND_SKIPPED */
  struct ArrowArray *table;         /* KIND_TABLE: a struct array; a plugin may move it out, else the host releases it */
  const struct ArrowSchema *schema; /* KIND_TABLE: borrowed */
  const sideline_frame *frame;      /* KIND_FRAME: borrowed */
} sideline_message;

/* Input of a call. */
typedef struct sideline_input {
  size_t size;
  const sideline_message *message; /* of the frame; null if there is none */
  const sideline_message *side;    /* of a side or feedback input, since the last call */
  size_t side_count;
} sideline_input;

typedef struct sideline_operator sideline_operator; /* of the plugin */
typedef struct sideline_error sideline_error;       /* of the host, as are the two that follow */
typedef struct sideline_writer sideline_writer;
typedef struct sideline_outputs sideline_outputs;

/* Arguments of `process` and `stream_ended`. */
typedef struct sideline_call {
  size_t size;
  const sideline_header *header;
  uint64_t seed;                /* depends on the node, the stream and the frame number only */
  const sideline_input *inputs; /* in the order of sideline_make.inputs */
  size_t input_count;
  sideline_outputs *outputs;
} sideline_call;

/* Functions of the host, which live as long as the process. Those that take a context may be called from any thread, also after
 * `drop`: they then fail or do nothing, and the clock returns the time of the drop. fail, write and set_... are for the running
 * call. */
typedef struct sideline_host {
  size_t size;
  void *context;
  /* Describes the failure of the running call: SIDELINE_FAILURE_... and a message. */
  void (*fail)(sideline_error *error, uint32_t failure, sideline_text message);
  /* Appends bytes. */
  void (*write)(sideline_writer *into, const uint8_t *data, size_t length);
  /* Writes a line to the log: SIDELINE_LOG_... and a message. */
  void (*log)(void *context, uint32_t level, sideline_text message);
  /* Adds to a counter of the operator, which the report of the run shows. */
  void (*count)(void *context, sideline_text name, uint64_t amount);
  /* Finds the file of a model by its name and copies its path, as much as fits; `length` gets the whole length. */
  int32_t (*model)(void *context, sideline_text name, uint8_t *path, size_t capacity, size_t *length,
                   sideline_error *error);
  /* Returns the clock of the run, ns since 1970. For measurements only. */
  int64_t (*now)(void *context);
  /* Reads the value of a numeric key; 1 for true, 0 for false. SIDELINE_ERROR if the key has no number. */
  int32_t (*number)(void *context, sideline_text key, double *value);
  /* Copies the value of a key, as much as fits: text as it is, any other value as JSON. */
  int32_t (*text)(void *context, sideline_text key, uint8_t *value, size_t capacity, size_t *length);
  /* Sets an output, by its index in the description, to rows. The array is moved to the host in every case. The schema is
   * that of the description if it is null, and is borrowed. Each output is set at most once in a call. */
  int32_t (*set_table)(sideline_outputs *outputs, size_t output, struct ArrowArray *table,
                       const struct ArrowSchema *schema);
  /* Sets an output to a frame, whose owner is moved to the host in every case. A frame that is lent to the call is retained. */
  int32_t (*set_frame)(sideline_outputs *outputs, size_t output, const sideline_frame *frame);
  /* Marks an output as skipped, for a reason of one word. */
  int32_t (*set_skipped)(sideline_outputs *outputs, size_t output, sideline_text reason);
} sideline_host;

/* Arguments of `make`. */
typedef struct sideline_make {
  size_t size;
  const sideline_host *host;
  sideline_text node; /* id of the node */
  uint32_t mode;      /* SIDELINE_MODE_... */
  uint32_t reserved;
  sideline_text values;        /* configuration as a JSON object: every key with its value */
  const sideline_text *inputs; /* names of the wired inputs */
  size_t input_count;
  const uint8_t *is_read; /* for each declared output 1 if it has a reader */
  size_t output_count;
  sideline_text resources; /* environment as a JSON object */
} sideline_make;

/* Plugin: its description and its functions. */
typedef struct sideline_plugin_t {
  size_t size;
  uint64_t magic; /* SIDELINE_MAGIC */
  uint32_t abi_major;
  uint32_t abi_minor;
  sideline_text description; /* JSON, as in the file beside the library; lives as long as the process */
  /* Checks a configuration beyond the ranges of its keys: writes a line "KEY: PROBLEM" for each problem. May be null. */
  int32_t (*check)(const sideline_host *host, sideline_text values, sideline_writer *problems, sideline_error *error);
  int32_t (*make)(const sideline_make *make, sideline_operator **made, sideline_error *error);
  int32_t (*process)(sideline_operator *self, const sideline_call *call, sideline_error *error);
  /* Handles the end of a stream and discards its state. May be null: the host then loads no bytes. */
  int32_t (*stream_ended)(sideline_operator *self, const sideline_call *call, sideline_error *error);
  /* Copies the state of a stream, and resets it to the copy. Both may be null: the host then uses save and load. */
  int32_t (*snapshot)(sideline_operator *self, sideline_text stream, sideline_error *error);
  int32_t (*roll_back)(sideline_operator *self, sideline_text stream, sideline_error *error);
  /* Writes the state of a stream, and replaces it by what was written; no bytes stand for a new state. Both may be null in an
   * operator without state. */
  int32_t (*save)(const sideline_operator *self, sideline_text stream, sideline_writer *into, sideline_error *error);
  int32_t (*load)(sideline_operator *self, sideline_text stream, const uint8_t *data, size_t length,
                  sideline_error *error);
  /* Applies a configuration of which only live keys changed. May be null in an operator without live keys. */
  int32_t (*reconfigure)(sideline_operator *self, sideline_text values, sideline_error *error);
  /* Closes files and devices. Called once. May be null. */
  int32_t (*close)(sideline_operator *self, sideline_error *error);
  /* Frees the operator. Called once, last. */
  void (*drop)(sideline_operator *self);
} sideline_plugin_t;

/* The function that a plugin exports. */
const sideline_plugin_t *sideline_plugin(void);

#ifdef __cplusplus
}
#endif

#endif /* SIDELINE_H */
