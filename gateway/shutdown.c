#include "gateway/shutdown.h"

#include "gateway/record.h"

static void stopping(struct fail *ret)
{
    *ret = (struct fail){ 0 };
    (void)fail_set(ret, FAIL_overloaded, "the gateway stops; ask again");
}

enum next shutdown_reply(struct answer *a)
{
    struct fail fail;

    if (flow_ended(&a->request->flow) != FLOW_shutdown)
        return NEXT_close;
    stopping(&fail);
    return reply_fail(a->request, &fail);
}

void shutdown_tell(struct answer *a)
{
    struct fail fail;

    if (a->out_end)
        return;
    stopping(&fail);
    answer_fail(a, &fail);
    a->dialect->fail(a, &a->failed, &a->out);
    a->out_end = true;
    record_finish(a->request, /* gone= */ false);
}
