/* SPDX-License-Identifier: Apache-2.0
 * The system's clock, and ISO 8601 to and from milliseconds. */
#include "common/base/clock.h"

#include <string.h>

enum {
    MILLISECONDS = 1000, /* of a second */
    NANOSECONDS = 1000000000,
    NANOSECONDS_OF_MILLISECOND = 1000000,
    SECONDS_OF_DAY = 86400,
    YEAR_MIN = 1970,
    YEAR_MAX = 9999,
    DAYS_OF_ERA = 146097, /* 400 years: the Gregorian calendar repeats after them */
};

static const int64_t TIME_MAX = 253402300799999; /* 9999-12-31T23:59:59.999Z */

static int64_t read_clock(clockid_t id)
{
    struct timespec moment = {0};
    clock_gettime(id, &moment);
    return (int64_t)moment.tv_sec * MILLISECONDS + moment.tv_nsec / NANOSECONDS_OF_MILLISECOND;
}

static int64_t system_now(void *context UNUSED)
{
    return read_clock(CLOCK_REALTIME);
}

static int64_t system_monotonic(void *context UNUSED)
{
    return read_clock(CLOCK_MONOTONIC);
}

const struct clock clock_system = {.now = system_now, .monotonic = system_monotonic};

int64_t clock_now(const struct clock *clock)
{
    const struct clock *source = clock != NULL ? clock : &clock_system;
    return source->now(source->context);
}

int64_t clock_monotonic(const struct clock *clock)
{
    const struct clock *source = clock != NULL ? clock : &clock_system;
    return source->monotonic(source->context);
}

/* The calendar is computed here: gmtime_r takes the C library's time zone lock, and timegm accepts 31 February.
 * Both functions count years from March, so that the leap day is the last day of a year, and eras from 0000-03-01. */
static const int64_t ERA_START = -719468; /* the day 0000-03-01, counted from 1970-01-01 */

static int64_t days_of_date(int year, int month, int day)
{
    int64_t march_year = month > 2 ? year : year - 1;
    int64_t era = march_year / 400;
    int64_t year_of_era = march_year % 400;
    int64_t month_from_march = (month + 9) % 12;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_OF_ERA + day_of_era + ERA_START;
}

static void date_of_days(int64_t days, int64_t *ret_year, int64_t *ret_month, int64_t *ret_day)
{
    int64_t shifted = days - ERA_START;
    int64_t era = shifted / DAYS_OF_ERA;
    int64_t day_of_era = shifted % DAYS_OF_ERA;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    *ret_day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    *ret_month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    *ret_year = era * 400 + year_of_era + (*ret_month <= 2 ? 1 : 0);
}

static void put_digits(char *ret_text, size_t count, int64_t number)
{
    for (size_t i = count; i > 0; i--) {
        ret_text[i - 1] = (char)('0' + number % 10);
        number /= 10;
    }
}

void clock_to_text(int64_t milliseconds, char ret_text[static CLOCK_TEXT_SIZE])
{
    int64_t moment = milliseconds < 0 ? 0 : milliseconds > TIME_MAX ? TIME_MAX : milliseconds;
    int64_t seconds = moment / MILLISECONDS;
    int64_t second_of_day = seconds % SECONDS_OF_DAY;
    int64_t year, month, day;
    date_of_days(seconds / SECONDS_OF_DAY, &year, &month, &day);
    memcpy(ret_text, "0000-00-00T00:00:00.000Z", CLOCK_TEXT_SIZE);
    put_digits(ret_text, 4, year);
    put_digits(ret_text + 5, 2, month);
    put_digits(ret_text + 8, 2, day);
    put_digits(ret_text + 11, 2, second_of_day / 3600);
    put_digits(ret_text + 14, 2, second_of_day / 60 % 60);
    put_digits(ret_text + 17, 2, second_of_day % 60);
    put_digits(ret_text + 20, 3, moment % MILLISECONDS);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads `count` digits whose number lies in the range, then steps behind them. */
static bool take_number(const char **text, int count, int min, int max, int *ret_number)
{
    int number = 0;
    for (int i = 0; i < count; i++) {
        char c = (*text)[i];
        if (!is_digit(c)) {
            return false;
        }
        number = number * 10 + (c - '0');
    }
    if (number < min || number > max) {
        return false;
    }
    *text += count;
    *ret_number = number;
    return true;
}

static bool take_char(const char **text, char expected)
{
    if (**text != expected) {
        return false;
    }
    (*text)++;
    return true;
}

static bool take_fraction(const char **text, int *ret_milliseconds)
{
    int milliseconds = 0;
    if (take_char(text, '.')) {
        if (!is_digit(**text)) {
            return false;
        }
        for (int weight = 100; is_digit(**text); weight /= 10) {
            milliseconds += (**text - '0') * weight;
            (*text)++;
        }
    }
    *ret_milliseconds = milliseconds;
    return true;
}

static bool take_offset(const char **text, int *ret_minutes)
{
    if (take_char(text, 'Z')) {
        *ret_minutes = 0;
        return true;
    }
    int sign = **text == '-' ? -1 : 1;
    int hours, minutes;
    if (!take_char(text, '+') && !take_char(text, '-')) {
        return false;
    }
    if (!take_number(text, 2, 0, 23, &hours) || !take_char(text, ':') || !take_number(text, 2, 0, 59, &minutes)) {
        return false;
    }
    *ret_minutes = sign * (hours * 60 + minutes);
    return true;
}

static int days_of_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap_year = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && is_leap_year ? 29 : days[month - 1];
}

bool clock_from_text(const char *text, int64_t *ret_milliseconds)
{
    int year, month, day, hour, minute, second, milliseconds, offset;
    const char *rest = text;
    /* A year beyond either end may come back inside by its offset, so the moment is checked and not the year. */
    bool has_date = take_number(&rest, 4, YEAR_MIN - 1, YEAR_MAX, &year) && take_char(&rest, '-') &&
                    take_number(&rest, 2, 1, 12, &month) && take_char(&rest, '-') &&
                    take_number(&rest, 2, 1, days_of_month(year, month), &day) && take_char(&rest, 'T');
    if (!has_date) {
        return false;
    }
    bool has_time = take_number(&rest, 2, 0, 23, &hour) && take_char(&rest, ':') &&
                    take_number(&rest, 2, 0, 59, &minute) && take_char(&rest, ':') &&
                    take_number(&rest, 2, 0, 59, &second) && take_fraction(&rest, &milliseconds) &&
                    take_offset(&rest, &offset) && *rest == '\0';
    if (!has_time) {
        return false;
    }
    int64_t minutes = days_of_date(year, month, day) * 1440 + hour * 60 + minute - offset;
    int64_t moment = (minutes * 60 + second) * MILLISECONDS + milliseconds;
    if (moment < 0 || moment > TIME_MAX) {
        return false;
    }
    *ret_milliseconds = moment;
    return true;
}

struct timespec clock_deadline(int64_t milliseconds)
{
    /* A deadline of years is as good as none, and keeps the sum below from overflowing. */
    const int64_t longest = INT64_C(100) * 366 * SECONDS_OF_DAY * MILLISECONDS;
    int64_t wait = milliseconds < 0 ? 0 : milliseconds > longest ? longest : milliseconds;
    struct timespec moment = {0};
    clock_gettime(CLOCK_MONOTONIC, &moment);
    moment.tv_sec += wait / MILLISECONDS;
    moment.tv_nsec += wait % MILLISECONDS * NANOSECONDS_OF_MILLISECOND;
    if (moment.tv_nsec >= NANOSECONDS) {
        moment.tv_sec++;
        moment.tv_nsec -= NANOSECONDS;
    }
    return moment;
}
