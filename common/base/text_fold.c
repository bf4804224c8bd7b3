/* SPDX-License-Identifier: Apache-2.0
 * Case-insensitive search in the Latin, Greek and Cyrillic scripts. */
#include <string.h>

#include "common/base/compiler.h"
#include "common/base/memory.h"
#include "common/base/text.h"

/* Every step-th code point from first to last folds to itself plus difference. */
struct fold {
    uint16_t first, last;
    uint8_t step;
    int32_t difference;
};

/* The mappings of status C and S in Unicode 14's CaseFolding.txt for Latin, Greek, Coptic and Cyrillic letters from
 * U+0080 to U+212B (which is the Angstrom sign), in ascending order. Status S and C are the simple foldings, one code
 * point to one: "Ã" stays itself and does not become "ss", and the Turkish dotted capital I stays itself too. */
static const struct fold folds[] = {
    {0x00b5, 0x00b5, 1, 775},   {0x00c0, 0x00d6, 1, 32},    {0x00d8, 0x00de, 1, 32},    {0x0100, 0x012e, 2, 1},
    {0x0132, 0x0136, 2, 1},     {0x0139, 0x0147, 2, 1},     {0x014a, 0x0176, 2, 1},     {0x0178, 0x0178, 1, -121},
    {0x0179, 0x017d, 2, 1},     {0x017f, 0x017f, 1, -268},  {0x0181, 0x0181, 1, 210},   {0x0182, 0x0184, 2, 1},
    {0x0186, 0x0186, 1, 206},   {0x0187, 0x0187, 1, 1},     {0x0189, 0x018a, 1, 205},   {0x018b, 0x018b, 1, 1},
    {0x018e, 0x018e, 1, 79},    {0x018f, 0x018f, 1, 202},   {0x0190, 0x0190, 1, 203},   {0x0191, 0x0191, 1, 1},
    {0x0193, 0x0193, 1, 205},   {0x0194, 0x0194, 1, 207},   {0x0196, 0x0196, 1, 211},   {0x0197, 0x0197, 1, 209},
    {0x0198, 0x0198, 1, 1},     {0x019c, 0x019c, 1, 211},   {0x019d, 0x019d, 1, 213},   {0x019f, 0x019f, 1, 214},
    {0x01a0, 0x01a4, 2, 1},     {0x01a6, 0x01a6, 1, 218},   {0x01a7, 0x01a7, 1, 1},     {0x01a9, 0x01a9, 1, 218},
    {0x01ac, 0x01ac, 1, 1},     {0x01ae, 0x01ae, 1, 218},   {0x01af, 0x01af, 1, 1},     {0x01b1, 0x01b2, 1, 217},
    {0x01b3, 0x01b5, 2, 1},     {0x01b7, 0x01b7, 1, 219},   {0x01b8, 0x01b8, 1, 1},     {0x01bc, 0x01bc, 1, 1},
    {0x01c4, 0x01c4, 1, 2},     {0x01c5, 0x01c5, 1, 1},     {0x01c7, 0x01c7, 1, 2},     {0x01c8, 0x01c8, 1, 1},
    {0x01ca, 0x01ca, 1, 2},     {0x01cb, 0x01db, 2, 1},     {0x01de, 0x01ee, 2, 1},     {0x01f1, 0x01f1, 1, 2},
    {0x01f2, 0x01f4, 2, 1},     {0x01f6, 0x01f6, 1, -97},   {0x01f7, 0x01f7, 1, -56},   {0x01f8, 0x021e, 2, 1},
    {0x0220, 0x0220, 1, -130},  {0x0222, 0x0232, 2, 1},     {0x023a, 0x023a, 1, 10795}, {0x023b, 0x023b, 1, 1},
    {0x023d, 0x023d, 1, -163},  {0x023e, 0x023e, 1, 10792}, {0x0241, 0x0241, 1, 1},     {0x0243, 0x0243, 1, -195},
    {0x0244, 0x0244, 1, 69},    {0x0245, 0x0245, 1, 71},    {0x0246, 0x024e, 2, 1},     {0x0345, 0x0345, 1, 116},
    {0x0370, 0x0372, 2, 1},     {0x0376, 0x0376, 1, 1},     {0x037f, 0x037f, 1, 116},   {0x0386, 0x0386, 1, 38},
    {0x0388, 0x038a, 1, 37},    {0x038c, 0x038c, 1, 64},    {0x038e, 0x038f, 1, 63},    {0x0391, 0x03a1, 1, 32},
    {0x03a3, 0x03ab, 1, 32},    {0x03c2, 0x03c2, 1, 1},     {0x03cf, 0x03cf, 1, 8},     {0x03d0, 0x03d0, 1, -30},
    {0x03d1, 0x03d1, 1, -25},   {0x03d5, 0x03d5, 1, -15},   {0x03d6, 0x03d6, 1, -22},   {0x03d8, 0x03ee, 2, 1},
    {0x03f0, 0x03f0, 1, -54},   {0x03f1, 0x03f1, 1, -48},   {0x03f4, 0x03f4, 1, -60},   {0x03f5, 0x03f5, 1, -64},
    {0x03f7, 0x03f7, 1, 1},     {0x03f9, 0x03f9, 1, -7},    {0x03fa, 0x03fa, 1, 1},     {0x03fd, 0x03ff, 1, -130},
    {0x0400, 0x040f, 1, 80},    {0x0410, 0x042f, 1, 32},    {0x0460, 0x0480, 2, 1},     {0x048a, 0x04be, 2, 1},
    {0x04c0, 0x04c0, 1, 15},    {0x04c1, 0x04cd, 2, 1},     {0x04d0, 0x052e, 2, 1},     {0x1c80, 0x1c80, 1, -6222},
    {0x1c81, 0x1c81, 1, -6221}, {0x1c82, 0x1c82, 1, -6212}, {0x1c83, 0x1c84, 1, -6210}, {0x1c85, 0x1c85, 1, -6211},
    {0x1c86, 0x1c86, 1, -6204}, {0x1c87, 0x1c87, 1, -6180}, {0x1c88, 0x1c88, 1, 35267}, {0x1e00, 0x1e94, 2, 1},
    {0x1e9b, 0x1e9b, 1, -58},   {0x1e9e, 0x1e9e, 1, -7615}, {0x1ea0, 0x1efe, 2, 1},     {0x1f08, 0x1f0f, 1, -8},
    {0x1f18, 0x1f1d, 1, -8},    {0x1f28, 0x1f2f, 1, -8},    {0x1f38, 0x1f3f, 1, -8},    {0x1f48, 0x1f4d, 1, -8},
    {0x1f59, 0x1f5f, 2, -8},    {0x1f68, 0x1f6f, 1, -8},    {0x1f88, 0x1f8f, 1, -8},    {0x1f98, 0x1f9f, 1, -8},
    {0x1fa8, 0x1faf, 1, -8},    {0x1fb8, 0x1fb9, 1, -8},    {0x1fba, 0x1fbb, 1, -74},   {0x1fbc, 0x1fbc, 1, -9},
    {0x1fbe, 0x1fbe, 1, -7173}, {0x1fc8, 0x1fcb, 1, -86},   {0x1fcc, 0x1fcc, 1, -9},    {0x1fd8, 0x1fd9, 1, -8},
    {0x1fda, 0x1fdb, 1, -100},  {0x1fe8, 0x1fe9, 1, -8},    {0x1fea, 0x1feb, 1, -112},  {0x1fec, 0x1fec, 1, -7},
    {0x1ff8, 0x1ff9, 1, -128},  {0x1ffa, 0x1ffb, 1, -126},  {0x1ffc, 0x1ffc, 1, -9},    {0x2126, 0x2126, 1, -7517},
    {0x212a, 0x212a, 1, -8383}, {0x212b, 0x212b, 1, -8262}};

static uint32_t fold_code_point(uint32_t code_point)
{
    if (code_point < 0x80) {
        return code_point >= 'A' && code_point <= 'Z' ? code_point - 'A' + 'a' : code_point;
    }
    size_t low = 0;
    size_t high = ARRAY_LENGTH(folds);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct fold *fold = &folds[middle];
        if (code_point > fold->last) {
            low = middle + 1;
        } else if (code_point < fold->first) {
            high = middle;
        } else if ((code_point - fold->first) % fold->step == 0) {
            return (uint32_t)((int32_t)code_point + fold->difference);
        } else {
            return code_point;
        }
    }
    return code_point;
}

/* The first character, folded; a byte that is not UTF-8 counts as a character that equals none but itself. */
static size_t take_folded(const char *text, size_t length, uint32_t *ret_code_point)
{
    uint32_t code_point;
    size_t count = text_decode_utf8(text, length, &code_point);
    if (count == 0) {
        *ret_code_point = 0x110000 + (unsigned char)text[0];
        return 1;
    }
    *ret_code_point = fold_code_point(code_point);
    return count;
}

/* One code point of what is looked for, and how much of the beginning has still been found where it does not follow. */
struct step {
    uint32_t code_point;
    size_t fallback;
};

/* How many steps have been made when `next` follows the first `made` of them, fewer than all. */
static size_t advance(const struct step *steps, size_t made, uint32_t next)
{
    while (made > 0 && steps[made].code_point != next) {
        made = steps[made].fallback;
    }
    return steps[made].code_point == next ? made + 1 : 0;
}

/* Returns how many steps there are. */
static size_t prepare_steps(const char *part, size_t length, struct step *ret_steps)
{
    size_t count = 0;
    for (size_t i = 0; i < length; count++) {
        i += take_folded(part + i, length - i, &ret_steps[count].code_point);
    }
    ret_steps[0].fallback = 0;
    for (size_t i = 1, made = 0; i < count; i++) {
        ret_steps[i].fallback = made;
        made = advance(ret_steps, made, ret_steps[i].code_point);
    }
    return count;
}

/* By Knuth, Morris and Pratt: lists look at thousands of texts, all of which may have been chosen, as the part may be,
 * so that a search that steps back in the text takes seconds. */
bool text_contains_folded(const char *text, const char *part)
{
    size_t text_length = strlen(text);
    size_t part_length = strlen(part);
    if (part_length == 0) {
        return true;
    }
    CLEANUP(free_pointer) struct step *steps = xreallocarray(NULL, part_length, sizeof(*steps));
    size_t count = prepare_steps(part, part_length, steps);
    size_t made = 0;
    for (size_t i = 0; i < text_length && made < count;) {
        uint32_t code_point;
        i += take_folded(text + i, text_length - i, &code_point);
        made = advance(steps, made, code_point);
    }
    return made == count;
}
