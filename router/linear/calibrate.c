#include "router/linear/classifier.h"

#include <math.h>

/* −ln of the probability of class y. */
static double surprise(const float *scores, uint32_t y, uint32_t classes, double temperature)
{
    double most = -INFINITY, sum = 0;
    for (uint32_t c = 0; c < classes; c++)
        most = fmax(most, (double)scores[c]);
    for (uint32_t c = 0; c < classes; c++)
        sum += exp(((double)scores[c] - most) / temperature);
    return log(sum) - ((double)scores[y] - most) / temperature;
}

static double log_loss(const float *scores, const uint32_t *y, size_t n, uint32_t classes,
                       double log_temperature)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += surprise(scores + i * classes, y[i], classes, exp(log_temperature));
    return sum;
}

/* The loss has one valley in 1 / temperature, so thirds of an interval close in on it. */
float linear_fit_temperature(const float *scores, const uint32_t *y, size_t n, uint32_t classes)
{
    enum { STEPS = 40 };
    double low = log(0.01), high = log(100);
    for (int i = 0; i < STEPS; i++) {
        double a = low + (high - low) / 3, b = high - (high - low) / 3;
        if (log_loss(scores, y, n, classes, a) < log_loss(scores, y, n, classes, b))
            high = b;
        else
            low = a;
    }
    return (float)exp((low + high) / 2);
}
