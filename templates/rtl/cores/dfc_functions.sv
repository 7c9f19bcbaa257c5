// exp and rsqrt in Q16.16, two's complement, four stages each: straight lines between the entries of a table.
//
// The tables are computed at elaboration, in integers. tests/test_rtl_functions.py holds the numpy model of the same
// integers and the error against the real functions: at most 2^-15 for exp of what is not positive, and a part of
// 2^-15 for rsqrt where its result is at least 1.

// exp(x) = 2^n (1 + f): n and f from x log2(e). What exceeds Q16.16 is its largest number.
module dfc_exp (
    input  wire        clk,
    input  wire [31:0] x,
    output reg  [31:0] y
);
  localparam signed [31:0] LOG2E = 32'sd1549082005;  // log2(e) 2^30
  localparam [63:0] ROOT = 64'd1111484524408;         // 2^(1/64) 2^40
  localparam [65*25-1:0] TABLE = powers(1'b0);        // 2^(i/64) 2^24
  function automatic [65*25-1:0] powers(input unused);
    integer i;
    reg [95:0] at;
    begin
      at = {55'd0, 1'b1, 40'd0};
      powers = {65*25{unused}};
      for (i = 0; i < 65; i = i + 1) begin
        powers[i*25 +: 25] = at[40:16] + {24'd0, at[15]};
        at = (at * {32'd0, ROOT}) >> 40;
      end
    end
  endfunction

  reg [24:0] values [0:63];            // a ROM of the table, and one of its steps
  reg [23:0] slopes [0:63];
  integer e;
  initial for (e = 0; e < 64; e = e + 1) begin
    values[e] = TABLE[e*25 +: 25];
    slopes[e] = TABLE[(e+1)*25 +: 24] - TABLE[e*25 +: 24];
  end

  wire signed [63:0] scaled = $signed(x) * LOG2E;
  reg signed [37:0] t;                 // x log2(e), 20 bits of fraction
  reg signed [17:0] n2, n3;
  reg [24:0] base, line;
  reg [23:0] slope;
  reg [13:0] rest;
  wire [37:0] rise = slope * {10'd0, rest};
  wire [5:0] entry = t[19:14];
  wire signed [17:0] down = 18'sd8 - n3;
  wire [5:0] shift = down > 18'sd40 ? 6'd40 : down[5:0];
  wire [25:0] half = {1'b0, line} + (shift == 6'd0 || shift > 6'd25 ? 26'd0 : 26'd1 << (shift - 6'd1));
  always @(posedge clk) begin
    t <= $signed(scaled[63:26]);
    n2 <= $signed(t[37:20]);
    base <= values[entry];
    slope <= slopes[entry];
    rest <= t[13:0];
    n3 <= n2;
    line <= base + {1'b0, rise[37:14]};
    if (n3 >= 18'sd15) y <= 32'h7fffffff;
    else if (n3 > 18'sd8) y <= {7'd0, line} << (n3 - 18'sd8);
    else y <= {6'd0, half} >> shift;
  end
  wire unused = &{1'b0, scaled[25:0], rise[13:0], down[17:6]};
endmodule

// 1/sqrt(x): x = 4^q m with m from 1 to 4. Of what is not positive, the largest number.
module dfc_rsqrt (
    input  wire        clk,
    input  wire [31:0] x,
    output reg  [31:0] y
);
  localparam [130*25-1:0] TABLE = roots(1'b0);        // 2^24/sqrt(m): m = 1 + i/64, then 2 + i/32, both ends included
  function automatic [130*25-1:0] roots(input unused);
    integer i, bit_at;
    reg [63:0] square, root, tried;
    reg [31:0] m64;                     // 64 m
    begin
      roots = {130*25{unused}};
      for (i = 0; i < 130; i = i + 1) begin
        m64 = $unsigned(i < 65 ? 64 + i : 2 * (i - 1));
        square = (64'd1 << 54) / {32'd0, m64};
        root = 64'd0;
        for (bit_at = 24; bit_at >= 0; bit_at = bit_at - 1) begin
          tried = root | (64'd1 << bit_at);
          if (tried * tried <= square) root = tried;
        end
        roots[i*25 +: 25] = root[24:0];
      end
    end
  endfunction

  reg [24:0] values [0:127];           // a ROM of the table without its ends, and one of its steps
  reg [23:0] slopes [0:127];
  integer e;
  initial for (e = 0; e < 128; e = e + 1) begin
    values[e] = TABLE[(e + e/64)*25 +: 25];
    slopes[e] = TABLE[(e + e/64)*25 +: 24] - TABLE[(e + e/64 + 1)*25 +: 24];
  end

  // The number of the highest bit that is set.
  reg [4:0] top;
  integer i;
  always @* begin
    top = 5'd0;
    for (i = 0; i < 31; i = i + 1) if (x[i]) top = i[4:0];
  end
  reg [29:0] mantissa;                  // below the leading 1
  reg [4:0] top1, top2, top3;
  reg none1, none2, none3;
  reg [24:0] base, line;
  reg [23:0] slope;
  reg [13:0] rest;
  wire [31:0] aligned = x << (5'd30 - top);
  wire [6:0] entry = {top1[0], mantissa[29:24]};
  wire [37:0] fall = slope * {10'd0, rest};
  wire [4:0] shift = top3 >> 1;         // 8 + q
  wire [25:0] half = {1'b0, line} + (shift == 5'd0 ? 26'd0 : 26'd1 << (shift - 5'd1));
  always @(posedge clk) begin
    mantissa <= aligned[29:0];
    {none1, top1} <= {x[31] || x == 32'd0, top};
    base <= values[entry];
    slope <= slopes[entry];
    rest <= mantissa[23:10];
    {none2, top2} <= {none1, top1};
    line <= base - {1'b0, fall[37:14]};
    {none3, top3} <= {none2, top2};
    y <= none3 ? 32'h7fffffff : {6'd0, half} >> shift;
  end
  wire unused = &{1'b0, aligned[31:30], mantissa[9:0], fall[13:0]};
endmodule
