#include "gateway/import.h"

#include "adapters/adapters.h"
#include "engine/local/engine_local.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

static bool is_inside(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    while (n > 1 && folder[n - 1] == '/')
        n--;
    return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool is_allowed(const struct config_gateway *g, const char *path)
{
    for (size_t i = 0; i < g->import_folders.n; i++) {
        CLEANUP(own_free) char *folder = realpath(g->import_folders.items[i].p, NULL);
        if (folder && is_inside(path, folder))
            return true;
    }
    return false;
}

int import_path(const struct config_gateway *g, struct str path, struct arena *arena,
                const char **ret, struct fail *reterr)
{
    if (g->import_folders.n == 0)
        return fail_param(reterr, FAIL_permission_denied, "path",
                          "no folder is open for this: list it in gateway.import_folders, or send "
                          "the files themselves as multipart/form-data");
    if (path.n == 0 || path.n >= PATH_MAX || memchr(path.p, '\0', path.n))
        return fail_param(reterr, FAIL_invalid_request, "path", "'path' is no path");
    const char *full = path.p[0] == '/'
                           ? arena_cstr(arena, path)
                           : arena_printf(arena, STR_FMT "/" STR_FMT,
                                          STR_ARG(g->import_folders.items[0]), STR_ARG(path));
    if (!full)
        return -ENOMEM;
    CLEANUP(own_free) char *real = realpath(full, NULL);
    if (!real && errno == ENOMEM)
        return -ENOMEM;
    /* What is outside is not even said to be there. */
    if (!real || !is_allowed(g, real))
        return fail_param(reterr,
                          real || path.p[0] == '/' ? FAIL_permission_denied : FAIL_not_found,
                          "path", "'" STR_FMT "' is not in a folder of gateway.import_folders",
                          STR_ARG(str_head(path, 160)));
    *ret = arena_cstr(arena, str_of(real));
    return *ret ? 0 : -ENOMEM;
}

int import_check(const struct config *c, struct str base, const char *path, bool *ret_checked,
                 struct fail *reterr)
{
    const struct config_model *m = config_model(c, base);
    uint64_t base_id = 0;
    uint64_t rank = m && m->upstream.endpoints.n ? adapters_rank_at(path) : 0;
    if (rank && m->upstream.lora.enabled && rank > m->upstream.lora.max_rank)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "adapter_config.json: its rank %" PRIu64 " is above the %" PRIu64
                        " that the engines behind '" STR_FMT "' take (upstream.lora.max_rank)",
                        rank, m->upstream.lora.max_rank, STR_ARG(base));
    *ret_checked = m && m->path.n && access(m->path.p, R_OK) == 0;
    return *ret_checked ? engine_local_lora_check(m->path.p, path, /* to= */ NULL, &base_id, reterr)
                        : 0;
}
