/* A whole step of a decoder whose products are all our own and whose rows are a token each: what decoder.py computes,
   by the same functions, without a way back to Python between them. */

#include "crew.h"

typedef void Product(const void *x, int x_bfloat16, const uint8_t *weights, int bits, const float *bias, void *scratch,
                     void *out, int out_bfloat16, long rows, long inputs, long outputs, int precise, Crew *crew);
typedef void Norm(void *x, const void *more, const float *weight, void *out, int bfloat16, long rows, long size,
                  float eps, Crew *crew);
typedef void Gate(const void *x, void *out, int bfloat16, long rows, long size, int gelu, Crew *crew);
typedef void Attend(const void *qkv, const float *turns, void *pool, long pool_pages, const int32_t *tables,
                    const int64_t *starts, const int64_t *positions, void *out, float *scratch, long width,
                    int bfloat16, long rows, long heads, long kv_heads, long dim, long page_tokens, long window,
                    float scale, Crew *crew);

enum { GROUP = 32, INPUTS_BYTES = 128, LINE = 64 }; /* what any product makes of a group of inputs, at the most */

typedef struct {
    Product *product;
    const uint8_t *weights;
    const float *bias;
    long bits, inputs, outputs;
} Matrix;

typedef struct {
    Matrix qkv, attention_out, gate_up, down;
    const float *attention_norm, *mlp_norm;
    const float *attention_post_norm, *mlp_post_norm; /* null: none */
    const float *query_norm, *key_norm;               /* null: none */
    long window;                                      /* 0: all is seen */
    long rope;                                        /* which of the step's turns */
} Layer;

typedef struct {
    Norm *norm;
    Gate *gate;
    Attend *attend;
    const Layer *layers;
    const float *last_norm;
    Matrix head;
    long count, heads, kv_heads, dim, bfloat16, gelu;
    float eps, scale;
} Model;

typedef struct {
    void *hidden;              /* [rows, size]: the tokens' embeddings; changed */
    const float *const *turns; /* for each rope [rows, 2, dim] */
    void *const *pools;        /* for each layer */
    const int32_t *tables;     /* see sluice_attend */
    const int64_t *starts, *positions, *chosen;
    float *logits; /* [chosen, vocabulary] */
    void *room;    /* of sluice_step_room's bytes */
    Crew *crew;    /* null: alone */
    long rows, chosen_count, longest, pool_pages, page_tokens, precise;
} Step;

/* Where a step's values lie; each from the beginning of a cache line on. */
typedef struct {
    char *normed, *qkv, *mixed, *more, *both, *gated, *inputs, *scores, *end;
} Room;

static long width_of(const Step *step) { return step->longest + 16; }

static char *after(char *place, long bytes) { return place + (bytes + LINE - 1) / LINE * LINE; }

static Room room_of(const Model *model, const Step *step, char *at) {
    const Layer *layer = model->layers; /* all have the same shape */
    const long row = step->rows * (model->bfloat16 ? 2 : 4), size = layer->qkv.inputs;
    const long widest = layer->down.inputs > layer->attention_out.inputs ? layer->down.inputs : layer->attention_out.inputs;
    const long groups = ((widest > size ? widest : size) + GROUP - 1) / GROUP;
    Room room = {.normed = at};
    room.qkv = after(room.normed, row * size);
    room.mixed = after(room.qkv, row * layer->qkv.outputs);
    room.more = after(room.mixed, row * layer->attention_out.inputs);
    room.both = after(room.more, row * size);
    room.gated = after(room.both, row * layer->gate_up.outputs);
    room.inputs = after(room.gated, row * layer->down.inputs);
    room.scores = after(room.inputs, step->rows * groups * INPUTS_BYTES);
    room.end = after(room.scores, (step->crew ? step->crew->members : 1) * (model->heads / model->kv_heads) * width_of(step) * 4);
    return room;
}

/* Bytes that a step needs. */
long sluice_step_room(const Model *model, const Step *step) { return (long)room_of(model, step, 0).end; }

static void multiply(const Model *model, const Step *step, const Matrix *matrix, const void *x, const Room *room,
                     void *out, int out_bfloat16, long rows) {
    matrix->product(x, (int)model->bfloat16, matrix->weights, (int)matrix->bits, matrix->bias, room->inputs, out,
                   out_bfloat16, rows, matrix->inputs, matrix->outputs, (int)step->precise, step->crew);
}

static void mix(const Model *model, const Step *step, const Matrix *matrix, const void *x, const Room *room, void *out) {
    multiply(model, step, matrix, x, room, out, (int)model->bfloat16, step->rows);
}

static void norm(const Model *model, const Step *step, void *x, const void *more, const float *weight, void *out, long rows, long size) {
    model->norm(x, more, weight, out, (int)model->bfloat16, rows, size, model->eps, step->crew);
}

static void norm_heads(const Model *model, const Step *step, const Layer *layer, char *qkv) {
    const long head = model->dim * (model->bfloat16 ? 2 : 4);
    for (long row = 0; row < step->rows; row++) {
        char *query = qkv + row * (model->heads + 2 * model->kv_heads) * head, *key = query + model->heads * head;
        norm(model, step, query, 0, layer->query_norm, query, model->heads, model->dim);
        norm(model, step, key, 0, layer->key_norm, key, model->kv_heads, model->dim);
    }
}

/* What it adds is left in room->more. */
static void attention(const Model *model, const Step *step, const Layer *layer, void *pool, const Room *room) {
    mix(model, step, &layer->qkv, room->normed, room, room->qkv);
    if (layer->query_norm) norm_heads(model, step, layer, room->qkv);
    model->attend(room->qkv, step->turns[layer->rope], pool, step->pool_pages, step->tables, step->starts,
                  step->positions, room->mixed, (float *)room->scores, width_of(step), (int)model->bfloat16,
                  step->rows, model->heads, model->kv_heads, model->dim, step->page_tokens,
                  layer->window ? layer->window : step->longest, model->scale, step->crew);
    mix(model, step, &layer->attention_out, room->mixed, room, room->more);
    if (layer->attention_post_norm)
        norm(model, step, room->more, 0, layer->attention_post_norm, room->more, step->rows, layer->qkv.inputs);
}

static void mlp(const Model *model, const Step *step, const Layer *layer, const Room *room) {
    mix(model, step, &layer->gate_up, room->normed, room, room->both);
    model->gate(room->both, room->gated, (int)model->bfloat16, step->rows, layer->down.inputs, (int)model->gelu,
                step->crew);
    mix(model, step, &layer->down, room->gated, room, room->more);
    if (layer->mlp_post_norm)
        norm(model, step, room->more, 0, layer->mlp_post_norm, room->more, step->rows, layer->qkv.inputs);
}

/* The chosen rows of hidden + more, normed, into room->normed. */
static void norm_chosen(const Model *model, const Step *step, const Room *room) {
    const long size = model->head.inputs, bytes = size * (model->bfloat16 ? 2 : 4);
    for (long each = 0; each < step->chosen_count; each++) {
        const long row = step->chosen[each] * bytes;
        norm(model, step, (char *)step->hidden + row, room->more + row, model->last_norm, room->normed + each * bytes, 1, size);
    }
}

void sluice_step(const Model *model, const Step *step) {
    const Room room = room_of(model, step, step->room);
    for (long index = 0; index < model->count; index++) {
        const Layer *layer = model->layers + index;
        const long size = layer->qkv.inputs;
        norm(model, step, step->hidden, index ? room.more : 0, layer->attention_norm, room.normed, step->rows, size);
        attention(model, step, layer, step->pools[index], &room);
        norm(model, step, step->hidden, room.more, layer->mlp_norm, room.normed, step->rows, size);
        mlp(model, step, layer, &room);
    }
    norm_chosen(model, step, &room);
    multiply(model, step, &model->head, room.normed, &room, step->logits, 0, step->chosen_count);
}
