%% The Erlang side of the benchmark. Reads a command a line, answers with a line:
%%   one_way N  nanoseconds a message, N messages to one counter
%%   idle N     leaves N hibernated counters behind
-module(phoenix_bench).
-export([main/0, counter/1, asleep/1]).

main() ->
    io:format("ready ~s~n", [erlang:system_info(otp_release)]),
    commands().

commands() ->
    case io:get_line("") of
        eof -> halt(0);
        {error, _} -> halt(1);
        Line ->
            [Name, Number] = string:lexemes(Line, " \n"),
            io:format("~w~n", [run(Name, list_to_integer(Number))]),
            commands()
    end.

run("one_way", N) ->
    Counter = spawn(?MODULE, counter, [0]),
    Self = self(),
    Begun = erlang:monotonic_time(nanosecond),
    spawn(fun() -> flood(Counter, N), Counter ! {total, Self} end),
    receive {total, N} -> ok end,
    Nanos = erlang:monotonic_time(nanosecond) - Begun,
    exit(Counter, kill),
    Nanos / N;
run("idle", N) ->
    [begin
         Pid = spawn(?MODULE, counter, [0]),
         Pid ! {add, I, self()},
         receive {total, I} -> ok end,
         Pid ! sleep
     end || I <- lists:seq(1, N)],
    erlang:garbage_collect(),
    N.

flood(_, 0) -> ok;
flood(To, N) -> To ! {add, 1}, flood(To, N - 1).

counter(Total) ->
    receive
        {add, By} -> counter(Total + By);
        {add, By, From} -> From ! {total, Total + By}, counter(Total + By);
        {total, From} -> From ! {total, Total}, counter(Total);
        sleep -> erlang:hibernate(?MODULE, asleep, [Total])
    end.

asleep(Total) -> counter(Total).
