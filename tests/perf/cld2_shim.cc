// The one place where C meets the C++ of CLD2: no logic here.
#include <cstdio> // the next header needs it and does not say so

#include <cld2/public/compact_lang_det.h>

extern "C" const char *cld2_shim(const char *text, int n, int *ret_percent, bool *ret_reliable);

extern "C" const char *cld2_shim(const char *text, int n, int *ret_percent, bool *ret_reliable)
{
    CLD2::Language languages[3];
    int percents[3], bytes = 0;
    CLD2::Language best =
        CLD2::ExtDetectLanguageSummary(text, n, true, languages, percents, &bytes, ret_reliable);
    if (best == CLD2::UNKNOWN_LANGUAGE && languages[0] != CLD2::UNKNOWN_LANGUAGE)
        best = languages[0];
    *ret_percent = best == languages[0] ? percents[0] : best == languages[1] ? percents[1] : 0;
    return best == CLD2::UNKNOWN_LANGUAGE ? "" : CLD2::LanguageCode(best);
}
