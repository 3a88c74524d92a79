// The part of the C library's mathematics that the kernels use, for a target that has no C library. exp and log are in math.c.
#ifndef MEDLEY_MATH_H
#define MEDLEY_MATH_H

#define INFINITY __builtin_inff()
#define sqrtf __builtin_sqrtf // one instruction of WebAssembly

double exp(double x);
double log(double x);

#endif
