/*
 * Preloaded into a program (LD_PRELOAD), it makes the platform fail as a file says while it runs.
 *
 * The file (named by FAULT_SHIM, at least sizeof(struct shim_state), written by
 * tests/support/shim.py) is mapped; its numbers may change at any time: clock_shift_s   added to
 * the wall clock; the monotonic one stays malloc_every    each so many allocations one is refused;
 * 0: none disk_full       writing to regular files fails with ENOSPC address         what
 * "changing.test" resolves to; empty: nothing does
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <netdb.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

struct shim_state {
    int64_t clock_shift_s;
    uint32_t malloc_every, malloc_refused;
    uint32_t disk_full, disk_refused;
    char address[64];
};

static struct shim_state nothing;
static struct shim_state *state = &nothing;

__attribute__((constructor)) static void shim_begin(void)
{
    const char *path = getenv("FAULT_SHIM");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p = MAP_FAILED;

    if (fd >= 0) {
        p = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        (void)close(fd);
    }
    if (p != MAP_FAILED)
        state = p;
}

/* ---- clock ---- */

int clock_gettime(clockid_t id, struct timespec *ret)
{
    int r = (int)syscall(SYS_clock_gettime, id, ret);
    if (r == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        ret->tv_sec += state->clock_shift_s;
    return r;
}

time_t time(time_t *ret)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    if (ret)
        *ret = t.tv_sec;
    return t.tv_sec;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    struct timespec t;
    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    *ret = (struct timeval){ .tv_sec = t.tv_sec, .tv_usec = t.tv_nsec / 1000 };
    return 0;
}

#ifdef WITH_MEMORY /* not beneath a sanitizer, which has an allocator of its own */

/* ---- memory: glibc's own stand below the names that are replaced ---- */

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

static uint32_t allocations;
static uintptr_t program_begin, program_end; /* where its code and data are mapped */

static int find_program(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    program_begin = UINTPTR_MAX;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t begin = info->dlpi_addr + p->p_vaddr, end = begin + p->p_memsz;
        if (p->p_type != PT_LOAD)
            continue;
        program_begin = begin < program_begin ? begin : program_begin;
        program_end = end > program_end ? end : program_end;
    }
    return 1; /* the program is the first */
}

__attribute__((constructor)) static void memory_begin(void)
{
    (void)dl_iterate_phdr(find_program, NULL);
}

static int refuses(const void *caller)
{
    uint32_t every = __atomic_load_n(&state->malloc_every, __ATOMIC_RELAXED);
    uintptr_t from = (uintptr_t)caller;

    if (!every || from < program_begin || from >= program_end ||
        __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED) % every)
        return 0;
    __atomic_add_fetch(&state->malloc_refused, 1, __ATOMIC_RELAXED);
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t n)
{
    return refuses(__builtin_return_address(0)) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return refuses(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return refuses(__builtin_return_address(0)) ? NULL : __libc_realloc(p, n);
}

#endif

/* ---- disk ---- */

static int full(int fd)
{
    struct stat s;

    if (!__atomic_load_n(&state->disk_full, __ATOMIC_RELAXED) || fstat(fd, &s) < 0 ||
        !S_ISREG(s.st_mode))
        return 0;
    __atomic_add_fetch(&state->disk_refused, 1, __ATOMIC_RELAXED);
    errno = ENOSPC;
    return 1;
}

ssize_t write(int fd, const void *p, size_t n)
{
    return full(fd) ? -1 : syscall(SYS_write, fd, p, n);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    return full(fd) ? -1 : syscall(SYS_writev, fd, v, n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    return full(fd) ? -1 : syscall(SYS_pwrite64, fd, p, n, at);
}

/* ---- names ---- */

int getaddrinfo(const char *restrict node, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict ret)
{
    typedef int (*getaddrinfo_fn)(const char *, const char *, const struct addrinfo *,
                                  struct addrinfo **);
    static getaddrinfo_fn real;
    char address[sizeof(state->address)];

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (!node || strcmp(node, "changing.test") != 0)
        return real(node, service, hints, ret);
    memcpy(address, state->address, sizeof(address));
    address[sizeof(address) - 1] = '\0';
    return address[0] ? real(address, service, hints, ret) : EAI_NONAME;
}
